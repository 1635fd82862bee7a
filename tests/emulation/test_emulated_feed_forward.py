"""The fused feed-forward branch's CUDA kernel against the reference in float64."""

from __future__ import annotations

from collections.abc import Collection

import emulator
import pytest
import torch
from checks import TOLERANCES, choices, double, each_dtype, normal, require_close, run
from emulator import Library
from torch import Tensor

from adair_core.ops.feed_forward import reference

# Batch, channels, hidden channels, height, width: vectors and single values, less and more than a slice and a tile.
SIZES = [
    *[(2, 5, 3, 5, 7), (1, 48, 17, 13, 15), (2, 1, 1, 1, 1), (1, 96, 33, 4, 3)],
    # A row more than a tile's result has, of each of the kernel's forms.
    *[(1, 5, 3, 9, 3), (1, 5, 3, 11, 3), (1, 50, 5, 13, 29)],
]


def pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


OPTIONAL = ("norm_bias", "in_bias", "depthwise_bias", "out_bias", "residual", "convolved")


def check(
    built: Library,
    size: tuple[int, ...],
    dtype: torch.dtype,
    without: Collection[str] = (),
    mean: float = 0.5,
    more: float = 1,
) -> None:
    """What is left out is of `OPTIONAL`; `more` times the usual error is allowed."""
    batch, channels, hidden, height, width = size
    x = normal(batch, channels, height, width, dtype=dtype) + mean
    shapes = {
        "norm_weight": (channels,),
        "norm_bias": (channels,),
        "in_weight": (2 * hidden, channels, 1, 1),
        "in_bias": (2 * hidden,),
        "depthwise": (2 * hidden, 1, 3, 3),
        "depthwise_bias": (2 * hidden,),
        "out_weight": (channels, hidden, 1, 1),
        "out_bias": (channels,),
    }
    parameters: dict[str, Tensor | None] = {}
    for place, (name, shape) in enumerate(shapes.items()):
        scale = shape[1] ** -0.5 if name in ("in_weight", "out_weight") else 0.5
        # Rounded as the kernel rounds them.
        value = normal(*shape, seed=place, scale=scale).to(dtype).float()
        parameters[name] = None if name in without else value
    y, convolved = torch.empty_like(pixels(x)), None
    if "convolved" not in without:
        convolved = torch.empty(batch, height, width, 2 * hidden, dtype=dtype)
    residual = "residual" not in without
    values = {"x": pixels(x), **parameters, "eps": 1e-3, "residual": residual}
    run(built, "feed_forward_in_tiles", **values, y=y, convolved=convolved)
    wide = [double(value) for value in parameters.values()]
    truth, wide_convolved = reference.feed_forward(x.double(), *wide, 1e-3, residual, True)
    # What is normalised, expanded and gated is rounded before it is used, which after cancellation is more of a value.
    require_close(y.permute(0, 3, 1, 2), truth, more * 4 * TOLERANCES[dtype], "y")
    if convolved is not None:
        require_close(convolved.permute(0, 3, 1, 2), wide_convolved, more * 3 * TOLERANCES[dtype], "convolved")


@each_dtype
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("without", [OPTIONAL, ()], ids=["bare", "whole"])
def test_feed_forward_equals_the_reference(size, dtype: torch.dtype, without: Collection[str]) -> None:
    check(emulator.library("feed_forward"), size, dtype, without)


def check_choices(built: Library) -> None:
    for without in choices(OPTIONAL):
        check(built, (1, 5, 3, 3, 4), torch.float32, without)


def test_any_choice_of_tensors() -> None:
    check_choices(emulator.library("feed_forward", only=torch.float32))


def check_far_from_zero(built: Library) -> None:
    """Values whose squares have lost what they differ by. The mean, too, has lost some: 1000 x 2^-24."""
    check(built, (1, 12, 3, 5, 7), torch.float32, mean=1000, more=50)


def test_values_far_from_zero() -> None:
    check_far_from_zero(emulator.library("feed_forward"))
