"""What every native kernel promises: the reference's values, on every instruction set and any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from native_checks import NATIVE_IMAGE_CASES, results, sized
from operator_cases import IMAGE, LAYOUTS, Case

from adair_core.ops.native import library, references_only, refusal
from adair_core.ops.registration import KERNELS

pytestmark = pytest.mark.skipif(library().path is None, reason="the native library is not built")
LEVELS = ["baseline", "avx2", "avx512", "avx512_bf16", "amx_bf16"]

each_case = pytest.mark.parametrize("case", NATIVE_IMAGE_CASES, ids=lambda case: f"{case.name}{case.extra}")
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout).removeprefix("torch."))
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("level", LEVELS)
def test_values_and_gradients_on_every_instruction_set(level: str) -> None:
    # A level that this machine lacks is run as the highest that it has.
    environment = {**os.environ, "ADAIR_CPU_CAPABILITY": level}
    program = Path(__file__).with_name("native_checks.py")
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_dtype
@each_case
def test_float32_and_bfloat16_with_channels_last_are_not_refused(case: Case, dtype: torch.dtype) -> None:
    arguments = (*case.tensors(dtype, layout=torch.channels_last), *case.constants, *case.extra)
    assert refusal(KERNELS[case.name], *arguments) is None


def is_native(case: Case, layout: torch.memory_format) -> bool:
    # PyTorch's kernels, which the operators fall back to, do depend on the number of threads.
    if case.name == "bottleneck" and len(case.shapes) > 9:
        return False  # something is injected, which the backward kernel does not take
    arguments = (*case.tensors(torch.float32, layout=layout), *case.constants, *case.extra)
    return refusal(KERNELS[case.name], *arguments) is None


@pytest.mark.usefixtures("threads")
@each_dtype
@pytest.mark.parametrize(
    ("case", "layout"),
    [(case, layout) for case in NATIVE_IMAGE_CASES for layout in LAYOUTS if is_native(case, layout)],
    ids=lambda value: f"{value.name}{value.extra}" if isinstance(value, Case) else str(value).removeprefix("torch."),
)
def test_the_number_of_threads_changes_no_bit(case: Case, layout: torch.memory_format, dtype: torch.dtype) -> None:
    tensors = sized(case, (2, 12, 65, 91)).tensors(dtype, layout=layout)
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(results(case, tensors))
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@each_case
def test_they_are_not_the_reference(case: Case) -> None:
    """Else whatever compares the two would compare nothing."""
    tensors = sized(case, (2, 12, 33, 18)).tensors(torch.float32, layout=torch.channels_last)
    native = results(case, tensors)
    with references_only():
        reference = results(case, tensors)
    assert any(not torch.equal(one, other) for one, other in zip(native, reference, strict=True))


@each_case
def test_the_gradient_of_one_argument_is_the_same_without_those_of_the_others(case: Case) -> None:
    tensors = sized(case, (2, 12, 9, 35)).tensors(torch.float32, layout=torch.channels_last)
    _, *every = results(case, tensors)
    present = [place for place, value in enumerate(tensors) if value is not None]
    for place, truth in zip(present, every, strict=True):
        leaves = [None if value is None else value.detach() for value in tensors]
        leaves[place].requires_grad_()
        _, found = results(case, leaves)
        torch.testing.assert_close(found, truth, rtol=1e-6, atol=1e-6 * float(truth.abs().max()))


@each_case
def test_the_other_images_of_a_batch_change_no_bit(case: Case) -> None:
    if case.name.endswith("_batch"):
        case = replace(case, operator=partial(case.operator, index=torch.zeros(3, dtype=torch.int64)))
    tensors = [v if v is None else v.detach() for v in sized(case, (3, 12, 40, 21)).tensors(torch.float32)]
    images = [place for place, shape in enumerate(case.shapes) if shape == IMAGE]
    for place in images:
        tensors[place] = tensors[place].contiguous(memory_format=torch.channels_last)
    together = case.run(*tensors)
    if case.name.endswith("_batch"):
        case = replace(case, operator=partial(case.operator, index=torch.zeros(1, dtype=torch.int64)))
    for number in range(3):
        alone = [v[number : number + 1] if place in images else v for place, v in enumerate(tensors)]
        assert torch.equal(case.run(*alone), together[number : number + 1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@each_layout
@each_case
def test_what_is_not_finite_spreads_as_in_the_reference(case: Case, value: float, layout: torch.memory_format) -> None:
    tensors = sized(case, (2, 12, 9, 21)).tensors(torch.float32, layout=layout)
    with torch.no_grad():
        tensors[0][1, 3, 4, 5] = value
    found = results(case, tensors)
    with references_only():
        expected = results(case, tensors)
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        assert torch.equal(ours.isfinite(), theirs.isfinite())
    for ours, theirs in zip(found[2:], expected[2:], strict=True):
        assert torch.equal(ours.isfinite(), theirs.isfinite())
