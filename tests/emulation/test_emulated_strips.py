"""Strips of the depthwise kernels in memory: vectors of 16 bytes or single values, which must give the same bits."""

from __future__ import annotations

from pathlib import Path

import emulator
import pytest
import test_emulated_depthwise
import test_emulated_depthwise_gate
import torch
from checks import each_dtype, normal
from emulator import Library
from mutants import Mutation, mutant
from torch import Tensor

each_layout = pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
each_operator = pytest.mark.parametrize("operator", ["depthwise", "depthwise_gate"])


def check_lengths(built: Library, operator: str, dtype: torch.dtype, last: bool) -> None:
    """Against the reference: every length of what is contiguous, of which some are multiples of a vector."""
    for length in range(1, 41):
        size = (1, length, 3, 2) if last else (1, 2, 3, length)
        if operator == "depthwise":
            test_emulated_depthwise.check(built, size, dtype, last)
        else:
            test_emulated_depthwise_gate.check(built, size, dtype, last)


def check_alignment(built: Library, operator: str, dtype: torch.dtype, last: bool) -> None:
    """Whole vectors, and every tensor in turn an element later: the values of other lanes, but the same bits.

    Each image has its own taps and biases. Some rows of strips, and some lanes of warps, are outside of the image.
    """
    images, channels, height, width = (2, 40, 11, 3) if last else (2, 2, 11, 40)

    def stored(count: int, seed: int) -> Tensor:
        shape = (images, height, width, count) if last else (images, count, height, width)
        return normal(*shape, dtype=dtype, seed=seed)

    gated = operator == "depthwise_gate"
    wide = 2 * channels if gated else channels
    x, gradient, convolved = stored(wide, 0), stored(channels, 1), stored(wide, 2)
    weight, bias = normal(images, wide, 9, seed=3), normal(images, wide, seed=4)
    forward = {"x": x, "weight": weight, "bias": bias, "channels_last": last, "y": torch.empty_like(gradient)}
    backward = {"gradient": gradient, "x": x, "channels_last": last}
    backward |= {"to_weight": torch.empty(wide, 9), "to_bias": torch.empty(wide)}
    if gated:
        forward["convolved"] = torch.empty_like(x)
        backward |= {"convolved": convolved, "weight": weight[0], "to_x": torch.empty_like(x)}
    else:
        forward["flipped"] = False
    for entry, values in ((operator, forward), (f"{operator}_{'backward' if gated else 'gradients'}", backward)):
        emulator.run(built, entry, values, seed=1)
        outputs = built.outputs(entry, values)
        aligned = {name: value.clone() for name, value in outputs.items()}
        for shifted in (name for name, value in values.items() if isinstance(value, Tensor)):
            emulator.run(built, entry, values, seed=2, shifted=shifted)
            for name, value in aligned.items():
                same = torch.equal(value.view(torch.uint8), outputs[name].view(torch.uint8))
                assert same, f"{entry}: {name} has other bits where {shifted} is not aligned"


@each_operator
@each_dtype
@each_layout
def test_rows_may_have_any_length(operator: str, dtype: torch.dtype, last: bool) -> None:
    check_lengths(emulator.library(operator), operator, dtype, last)


@each_operator
@each_dtype
@each_layout
def test_vectors_and_single_values_give_the_same_bits(operator: str, dtype: torch.dtype, last: bool) -> None:
    check_alignment(emulator.library(operator), operator, dtype, last)


@pytest.mark.skipif(emulator.SANITIZE, reason="AddressSanitizer ends the process")
@pytest.mark.parametrize(
    ("old", "new"),
    [("upper ? lows : highs", "upper ? highs : lows"), ("upper ? 0x3276 : 0x7610", "upper ? 0x3276 : 0x3276")],
)
def test_a_fault_in_the_exchange_of_halves_is_caught(old: str, new: str, tmp_path: Path) -> None:
    """Only numbers of 16 bits have it; test_emulated_mutations.py has the faults that float32 shows."""
    faulty = mutant("depthwise", Mutation("cuda/transpose.cuh", old, new), tmp_path, only=torch.bfloat16)
    with pytest.raises(AssertionError, match=r"error|other bits"):
        check_alignment(faulty, "depthwise", torch.bfloat16, True)
