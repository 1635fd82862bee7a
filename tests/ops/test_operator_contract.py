"""What every operator promises, whatever it computes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from operator_cases import CASES, IMAGE, IMAGE_CASES, LAYOUTS, Case
from torch import Tensor

from adair_core.errors import UsageError


def identify(value: object) -> str | None:
    if isinstance(value, Case):
        return f"{value.name}{value.constants or ''}{'' if value.shapes[-1] and None not in value.shapes else '-bare'}"
    return str(value).removeprefix("torch.") if isinstance(value, (torch.memory_format, torch.dtype)) else None


each_case = pytest.mark.parametrize("case", CASES, ids=identify)
each_image_case = pytest.mark.parametrize("case", IMAGE_CASES, ids=identify)
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=identify)


def gradients(function: Callable[..., Tensor], tensors: Sequence[Any], finish: Callable[[Tensor], Tensor]) -> list[Any]:
    """The output and the gradients of `finish` of it."""
    output = function(*tensors)
    wanted = [value for value in tensors if value is not None]
    return [output, *torch.autograd.grad(finish(output), wanted)]


def relative(value: Tensor, truth: Tensor) -> float:
    value, truth = value.detach().double(), truth.detach().double()
    return float((value - truth).norm() / truth.norm())


def weighted_sum(output: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).reshape(output.shape)
    return (output * weights.to(output.dtype)).sum()


def overload(name: str) -> Any:
    return getattr(torch.ops.adair, name).default


@each_layout
@each_image_case
def test_values_and_gradients_equal_plain_pytorch(case: Case, layout: torch.memory_format) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        found = gradients(case.run, case.tensors(dtype, layout=layout), weighted_sum)
        truth = gradients(case.run_plain, case.tensors(), weighted_sum)
        for value, expected in zip(found, truth, strict=True):
            assert value.dtype == dtype
            assert relative(value, expected) < tolerance


@each_layout
@each_image_case
def test_the_memory_format_is_kept(case: Case, layout: torch.memory_format) -> None:
    tensors = case.tensors(torch.float32, layout=layout)
    output, to_images, *_ = gradients(case.run, tensors, weighted_sum)
    assert output.is_contiguous(memory_format=layout)
    assert to_images.is_contiguous(memory_format=layout)


# Of opcheck's own making.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@each_case
def test_opcheck_forward(case: Case) -> None:
    layouts: list[torch.memory_format | None] = [None, torch.channels_last] if case.shapes[0] == IMAGE else [None]
    for layout in layouts:
        arguments = (*case.tensors(torch.float32, layout=layout), *case.constants, *case.extra)
        torch.library.opcheck(overload(case.name), arguments)


@each_case
def test_opcheck_backward(case: Case) -> None:
    layouts: list[torch.memory_format | None] = [None, torch.channels_last] if case.shapes[0] == IMAGE else [None]
    for layout in layouts:
        for arguments in backward_arguments(case, layout):
            torch.library.opcheck(overload(f"{case.name}_backward"), arguments)


def backward_arguments(case: Case, layout: torch.memory_format | None) -> list[tuple[Any, ...]]:
    with torch.no_grad():
        tensors = case.tensors(torch.float32, layout=layout)
        tensors = [None if value is None else value.detach() for value in tensors]
        outputs = overload(case.name)(*tensors, *case.constants, *case.extra)
    result = outputs if isinstance(outputs, Tensor) else outputs[0]
    gradient = torch.ones_like(result)
    if case.name == "layer_norm2d":
        bias_free = len(tensors) == 2
        return [(gradient, *tensors[:2], *outputs[1:], bias_free, affine) for affine in (True, False)]
    if case.name == "depthwise":
        x, weight, bias = tensors
        last = layout == torch.channels_last
        frozen = (gradient, None, weight, last, [True, False, False])
        return [(gradient, x, weight, last, [True, True, bias is not None]), frozen]
    if case.name == "depthwise_gate":
        x, weight, bias = tensors
        convolved = outputs[1] if case.extra[0] else None
        frozen = [(gradient, None, weight, bias, convolved, [True, False, False])] if case.extra[0] else []
        return [(gradient, x, weight, bias, convolved, [True, True, bias is not None]), *frozen]
    if case.name == "feed_forward":
        eps, residual, keep = case.extra
        convolved = outputs[1] if keep else None
        present = [value is not None for value in tensors]
        wishes = (present, [True] + [False] * 8, [need and index > 2 for index, need in enumerate(present)])
        return [(gradient, *tensors, eps, residual, convolved, list(needs)) for needs in wishes]
    if case.name == "attention_branch":
        eps, residual, _ = case.extra
        with torch.no_grad():
            kept = overload(case.name)(*tensors, eps, residual, True)[1:]
        present = [value is not None for value in tensors]
        wishes = (present, [True] + [False] * 9, [need and index > 6 for index, need in enumerate(present)])
        return [(gradient, *tensors, eps, residual, *kept, list(needs)) for needs in wishes]
    if case.name == "channel_attention":
        return [(gradient, *tensors, *outputs[1:])]
    if case.name == "low_rank_convolution":
        x, weight, bias, *factors = tensors
        wishes = ([True, True, bias is not None, True, True, True], [True, False, False, True, True, False])
        return [(gradient, x, weight, *factors, *case.extra, needs) for needs in wishes]
    if case.name == "bottleneck":
        injected = tensors[9] if len(tensors) > 9 else None
        return [(gradient, *tensors[:8], injected, needs_x, case.extra[-1]) for needs_x in (True, False)]
    if case.name == "bottleneck_batch":
        index, _, injected, residual = case.extra
        return [(gradient, *tensors, index, injected, needs_x, residual) for needs_x in (True, False)]
    return [(gradient, *tensors[1:], *case.constants)]


@each_case
def test_gradcheck_and_gradgradcheck(case: Case) -> None:
    small = replace(case, shapes=tuple(shrink(shape) for shape in case.shapes))
    tensors = small.tensors()

    def function(*present: Tensor) -> Tensor:
        given = iter(present)
        return case.run(*(None if value is None else next(given) for value in tensors))

    present = tuple(value for value in tensors if value is not None)
    assert torch.autograd.gradcheck(function, present)
    assert torch.autograd.gradgradcheck(function, present)


def shrink(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return (1, 12, 2, 3) if shape == IMAGE else shape


@each_case
@pytest.mark.parametrize(
    "finish",
    [
        lambda y: y.sum(),
        lambda y: torch.cat([y, 2 * y], dim=1).square().sum(),
        lambda y: y.transpose(-1, -2).contiguous().square().sum(),
        lambda y: y[..., ::2].expand(3, *y[..., ::2].shape).sum(),
    ],
    ids=["stride-0", "cat", "transpose", "expand"],
)
def test_gradients_of_any_strides(case: Case, finish: Callable[[Tensor], Tensor]) -> None:
    # opcheck does not find a wrong answer for a gradient that is not contiguous.
    found = gradients(case.run, case.tensors(), finish)
    truth = gradients(case.run_plain, case.tensors(), finish)
    for value, expected in zip(found, truth, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


@each_case
def test_inputs_of_any_strides(case: Case) -> None:
    tensors = case.tensors()
    plain = gradients(case.run_plain, tensors, weighted_sum)
    strided = [None if value is None else with_gaps(value) for value in tensors]
    found = gradients(case.run, strided, weighted_sum)
    for value, expected in zip(found, plain, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    if case.shapes[0] == IMAGE:
        assert found[0].is_contiguous()


def with_gaps(value: Tensor) -> Tensor:
    spread = value.detach().new_zeros((*value.shape, 2))
    spread[..., 0] = value.detach()
    return spread[..., 0].requires_grad_()


@each_image_case
@pytest.mark.parametrize("size", [(0, 12, 5, 7), (2, 12, 1, 1), (1, 12, 1, 9), (3, 12, 33, 2)])
def test_odd_and_empty_sizes(case: Case, size: tuple[int, ...]) -> None:
    for layout in LAYOUTS:
        sized = replace(case, shapes=tuple(size if shape == IMAGE else shape for shape in case.shapes))
        found = gradients(case.run, sized.tensors(layout=layout), weighted_sum)
        if 0 in size:
            assert found[0].numel() == 0
            assert all(not value.any() for value in found[1:])
            continue
        truth = gradients(case.run_plain, sized.tensors(), weighted_sum)
        for value, expected in zip(found, truth, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


@each_case
def test_only_the_asked_gradients_are_computed(case: Case) -> None:
    truth = gradients(case.run_plain, case.tensors(), weighted_sum)[1:]
    present = [index for index, shape in enumerate(case.shapes) if shape is not None]
    for place, index in enumerate(present):
        tensors = [None if value is None else value.detach() for value in case.tensors()]
        tensors[index].requires_grad_()
        output = case.run(*tensors)
        (found,) = torch.autograd.grad(weighted_sum(output), [tensors[index]])
        torch.testing.assert_close(found, truth[place], rtol=1e-10, atol=1e-10)
        assert not case.run(*(None if v is None else v.detach() for v in tensors)).requires_grad


@each_case
def test_compiles_without_a_graph_break(case: Case) -> None:
    torch.compiler.reset()
    compiled = torch.compile(case.run, fullgraph=True, backend="aot_eager")
    found = gradients(compiled, case.tensors(), weighted_sum)
    truth = gradients(case.run, case.tensors(), weighted_sum)
    for value, expected in zip(found, truth, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@each_case
def test_bfloat16_error_is_at_most_twice_that_of_pytorch(case: Case) -> None:
    larger = {IMAGE: (2, 12, 32, 32)}
    sized = replace(case, shapes=tuple(larger.get(shape, shape) for shape in case.shapes))
    rounded = sized.tensors(torch.bfloat16)
    exact = [None if value is None else value.detach().double().requires_grad_() for value in rounded]
    truth = gradients(case.run_plain, exact, weighted_sum)
    pytorch = gradients(case.run_plain, rounded, weighted_sum)
    found = gradients(case.run, rounded, weighted_sum)
    for ours, theirs, expected in zip(found, pytorch, truth, strict=True):
        assert ours.dtype == torch.bfloat16
        # One rounding of the exact result, 2^-9 of each element at most, is no error of the arithmetic.
        assert relative(ours, expected) <= max(2 * relative(theirs, expected), 2**-9)


@each_image_case
def test_bfloat16_images_with_float32_weights(case: Case) -> None:
    tensors = case.tensors(torch.float32)
    mixed = [tensors[0].detach().bfloat16().requires_grad_(), *tensors[1:]]
    exact = [None if value is None else value.detach().double().requires_grad_() for value in mixed]
    found = gradients(case.run, mixed, weighted_sum)
    truth = gradients(case.run_plain, exact, weighted_sum)
    present = [value for value in mixed if value is not None]
    for value, expected, like in zip(found, truth, [present[0], *present], strict=True):
        assert value.dtype == like.dtype
        assert relative(value, expected) < 0.02


@each_image_case
def test_under_autocast(case: Case) -> None:
    tensors = case.tensors(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = case.run(*tensors)
        # Also the backward pass may run under autocast; its float32 parts must stay float32.
        inside = torch.autograd.grad(output.float().sum(), tensors[0], retain_graph=True)[0]
    outside = torch.autograd.grad(output.float().sum(), tensors[0])[0]
    # A layer norm is no convolution: PyTorch does not cast its input either.
    assert output.dtype == (torch.float32 if case.name == "layer_norm2d" else torch.bfloat16)
    assert torch.equal(inside, outside)
    rounded = [None if value is None else value.detach() for value in tensors]
    rounded[0] = rounded[0].to(output.dtype)
    assert torch.equal(output, case.run(*rounded))


@each_case
def test_the_backward_operator_refuses_to_be_differentiated(case: Case) -> None:
    arguments = [
        value.requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in backward_arguments(case, None)[0]
    ]
    first = overload(f"{case.name}_backward")(*arguments)[0]
    with pytest.raises(RuntimeError, match=f"{case.name}_backward has no derivative.*create_graph"):
        first.sum().backward()


@each_case
def test_two_calls_give_the_same_bits(case: Case) -> None:
    first, second = (gradients(case.run, case.tensors(torch.float32), weighted_sum) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@each_image_case
@pytest.mark.parametrize(
    "images", [torch.zeros(12, 5, 7), torch.zeros(IMAGE, dtype=torch.int64), torch.zeros(1, 12, 0, 7)]
)
def test_what_is_no_batch_of_images_is_refused(case: Case, images: Tensor) -> None:
    message = re.escape(
        f"expected a floating-point tensor (B, C, H, W) with C, H, W >= 1, got shape {tuple(images.shape)}"
    )
    with pytest.raises(UsageError, match=f"{case.name}: .*: {message}"):
        case.run(images, *case.tensors()[1:])
