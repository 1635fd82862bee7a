"""Compares the native kernels with the references: a program, so that it can run once for each instruction set."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from operator_cases import CASES, IMAGE, IMAGE_CASES, LAYOUTS, Case
from torch import Tensor

from adair_core.ops.native import library, references_only
from adair_core.ops.registration import KERNELS

SIZES = [(2, 12, 5, 7), (1, 12, 33, 18), (3, 12, 1, 1), (1, 12, 2, 67)]
NARROW = {12: 12}
WIDE = {12: 42, 36: 126, 10: 26, 5: 13, 3: 19}
"""More channels than vectors have lanes, and no multiple of those."""
WHOLE = {12: 96, 36: 288, 10: 64, 5: 32, 3: 16}
"""Whole vectors, also of each head: kernels may read and write them as they lie."""
WIDER = {12: 150, 36: 450, 10: 266, 5: 133, 3: 35}
"""More than one block of the matrix products, also where the last is not full."""
CANCELLING = 4
"""How much more the error of a gradient of one number, the temperature's with one head, may be than that of many.

It is the sum of a term for each pair of channels. With 42 channels and 2 x 67 pixels the terms' sizes add up to 710
times the sum (computed in float64): an error of 2**-24 of each, as float32 has it, may come to 4.2e-5 of the sum.
"""
SHAPES = [
    *((size, widths) for size in SIZES for widths in (NARROW, WIDE)),
    ((1, 12, 9, 21), WIDER),
    ((2, 12, 7, 19), WHOLE),
]
NATIVE_CASES = [case for case in CASES if case.name in KERNELS]
NATIVE_IMAGE_CASES = [case for case in IMAGE_CASES if case.name in KERNELS]


def sized(case: Case, size: tuple[int, ...], widths: Mapping[int, int] = NARROW) -> Case:
    """The case with images of another size, and with other numbers of channels."""
    shapes = [size if shape == IMAGE else shape for shape in case.shapes]
    widened = (widen(new, widths, image=old == IMAGE) for old, new in zip(case.shapes, shapes, strict=True))
    return replace(case, shapes=tuple(widened))


def widen(shape: tuple[int, ...] | None, widths: Mapping[int, int], *, image: bool) -> tuple[int, ...] | None:
    if shape is None:
        return None
    # The last two dimensions of images and weights are spatial.
    places = (1,) if image else range(len(shape) - 2 if len(shape) > 3 else len(shape))
    return tuple(widths.get(n, n) if place in places else n for place, n in enumerate(shape))


def results(case: Case, tensors: Sequence[Tensor | None]) -> list[Tensor]:
    """The output and the gradients of all tensors, on whatever device they are."""
    output = case.run(*tensors)
    weights = torch.linspace(-1, 1, output.numel(), device=output.device).reshape(output.shape).to(output.dtype)
    wanted = [value for value in tensors if value is not None and value.requires_grad]
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), wanted)]


def disagreement(case: Case, dtype: torch.dtype, layout: torch.memory_format) -> float:
    """The largest error of a result against float64, relative to the allowed one."""
    tensors = case.tensors(dtype, layout=layout)
    exact = [None if value is None else value.detach().double().requires_grad_() for value in tensors]
    truth, found = results(case, exact), results(case, tensors)
    with references_only():
        usual = results(case, tensors)
    return worst_error(case, found, usual, truth, floor=1e-5 if dtype == torch.float32 else 2**-7)


def worst_error(
    case: Case, found: Sequence[Tensor], usual: Sequence[Tensor], truth: Sequence[Tensor], *, floor: float
) -> float:
    """The largest error of results, relative to the allowed one: twice the reference's, but at least a floor.

    Args:
        case: whose results they are.
        found: from the kernels.
        usual: from the references in the same dtype.
        truth: from the references in float64.
        floor: of few values, the reference's error may be small by chance.
    """
    if case.name == "attention_branch" and found[0].shape[-2:] == (1, 1):
        # A row of one pixel has the direction 1 or -1 whatever its length: the exact gradients of queries and keys are
        # zero, computed ones the difference of equal numbers. Worst measured: 3.4e-5, at the baseline.
        floor *= 10
    worst = 0.0
    for value, reference, expected in zip(found, usual, truth, strict=True):
        if value.dtype == torch.float16 and not bool(reference.isfinite().all()):
            continue  # too large a number for the dtype, in whatever way it is computed
        size = expected.norm() + 1e-30
        cancelling = CANCELLING if expected.numel() == 1 else 1
        allowed = max(2 * float((reference.double() - expected).norm() / size), floor * cancelling)
        error = float((value.double() - expected).norm() / size) / allowed
        worst = max(worst, error if math.isfinite(error) else math.inf)  # NaN is larger than nothing
    return worst


def main() -> None:
    """Print what disagrees; exit with 1 if anything does."""
    assert library().loaded
    failed = False
    for case in NATIVE_IMAGE_CASES:
        for size, widths in SHAPES:
            for dtype in (torch.float32, torch.bfloat16):
                for layout in LAYOUTS:
                    error = disagreement(sized(case, size, widths), dtype, layout)
                    if not error <= 1:
                        print(case.name, case.extra, size, widths, dtype, layout, error)
                        failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
