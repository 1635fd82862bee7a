"""Every operator on drawn shapes, strides, dtypes and options, against plain PyTorch in float64.

The examples of a run are always the same. ``ADAIR_FUZZ_EXAMPLES=1000 pytest tests/ops/test_fuzzed_operators.py`` draws
that many new ones for each operator.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from operator_strategies import OPERATORS, Example, as_given, examples
from torch import Tensor

from adair_core import ops
from adair_core.ops.native import references_only
from adair_core.ops.registration import KERNELS

MORE = int(os.environ.get("ADAIR_FUZZ_EXAMPLES", "0"))
fuzzed = settings(
    max_examples=MORE or 40,
    derandomize=not MORE,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
each_operator = pytest.mark.parametrize("name", OPERATORS)

EPSILON = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-8, torch.float64: 2.0**-52}


WITH_NORM = ("layer_norm2d", "attention_branch", "feed_forward")
STEEPEST = 1e-5**-0.5
"""The slope of a layer norm of one channel. Its result does not depend on it; what its gradient has is rounding."""


def test_every_operator_is_fuzzed() -> None:
    assert set(OPERATORS) == set(ops.__all__)


def results(run: Any, tensors: list[Any], gradient: Tensor, needs: tuple[bool, ...]) -> list[Tensor]:
    """The output, and the gradients that are needed."""
    output = run(*tensors)
    wanted = [value for value, need in zip(tensors, needs, strict=True) if need]
    found = torch.autograd.grad(output, wanted, gradient, allow_unused=True, materialize_grads=True)
    return [output.detach(), *found]


def exact_results(example: Example, values: list[Any], gradient: Tensor) -> list[Tensor]:
    leaves = [
        None if value is None else as_given(value, layout).requires_grad_(need)
        for value, layout, need in zip(values, example.layouts, example.needs, strict=False)
    ]
    return results(example.case.run_plain, leaves, gradient, example.needs)


def perturbed(values: list[Any], epsilon: float, seed: int) -> list[Any]:
    """The values, each changed by about as much as rounding changes it."""
    generator = torch.Generator().manual_seed(seed)
    return [
        None if value is None else value * (1 + epsilon * torch.randn(value.shape, generator=generator).double())
        for value in values
    ]


def size(value: Tensor) -> float:
    """The root mean square."""
    return float(value.double().square().mean().sqrt()) if value.numel() else 0.0


@each_operator
@given(data=st.data())
@fuzzed
def test_values_and_gradients(name: str, data: st.DataObject) -> None:
    example = data.draw(examples(name))
    values = example.values()
    tensors = example.tensors(values)
    output = example.case.run(*(None if value is None else value.detach() for value in tensors))
    assert output.dtype == example.dtype
    gradient = example.gradient(output)
    exact_gradient = gradient.double().clone(memory_format=torch.contiguous_format)
    truth = exact_results(example, values, exact_gradient)
    found = results(example.case.run, tensors, gradient, example.needs)
    with references_only():
        usual = results(example.case.run, example.tensors(values), gradient, example.needs)
    epsilon = EPSILON[example.dtype]
    moved = [exact_results(example, perturbed(values, epsilon, seed), exact_gradient) for seed in range(2)]
    largest = max(map(size, truth)) * (STEEPEST if values[0].shape[1] == 1 and name in WITH_NORM else 1)
    wanted = [value for value, need in zip(tensors, example.needs, strict=True) if need]
    for place, (value, expected, reference) in enumerate(zip(found, truth, usual, strict=True)):
        note(f"result {place} of {example}")
        assert value.shape == expected.shape
        assert place == 0 or value.dtype == wanted[place - 1].dtype
        # What PyTorch errs by, what rounding the arguments alone does to the exact result, or rounding the result.
        sensitivity = max(size(other[place] - expected) for other in moved)
        allowed = 2 * max(size(reference.double() - expected), 4 * sensitivity, epsilon * size(expected))
        # A parameter's gradient is a sum over pixels; of numbers that cancel, the errors stay.
        summed = max(1.0, gradient.numel() / max(1, value.numel())) ** 0.5
        assert size(value.double() - expected) <= allowed + 4 * epsilon * largest * summed


def is_taps(value: Tensor | None) -> bool:
    """Whether a tensor is none, or taps of a convolution.

    PyTorch's own convolutions do not agree on whether a zero beyond the border times what is not finite counts.
    """
    return value is None or value.shape[-2:] == (3, 3)


@each_operator
@given(data=st.data())
@fuzzed
def test_what_is_not_finite_comes_out_where_float64_has_it(name: str, data: st.DataObject) -> None:
    example = data.draw(examples(name))
    values = example.values()
    place = data.draw(st.sampled_from([0, *(place for place, value in enumerate(values) if not is_taps(value))]))
    where = data.draw(st.integers(0, max(0, values[place].numel() - 1)))
    values[place].view(-1)[where] = data.draw(st.sampled_from([float("nan"), float("inf"), -float("inf")]))
    tensors = example.tensors(values)
    output = example.case.run(*(None if value is None else value.detach() for value in tensors))
    gradient = example.gradient(output)
    found = results(example.case.run, tensors, gradient, example.needs)
    # PyTorch's convolutions in bfloat16 sometimes spread it further than their taps reach, and not always the same way.
    usual = name not in KERNELS or example.layouts[0] != "channels last"
    further = example.dtype == torch.bfloat16 and usual
    doubles = [
        None if value is None else value.detach().double().requires_grad_(value.requires_grad) for value in tensors
    ]
    expected = results(example.case.run, doubles, gradient.double(), example.needs)
    for number, (value, reference) in enumerate(zip(found, expected, strict=True)):
        note(f"result {number} of {example}, tensor {place} is {values[place].view(-1)[where]} at {where}")
        if number > 0 and is_taps(value):
            continue
        if further:
            assert not (value.isfinite() & ~reference.isfinite()).any()
        else:
            assert torch.equal(value.isfinite(), reference.isfinite())
