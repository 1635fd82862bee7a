"""The depthwise gate's CUDA kernels against the reference in float64."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection

import emulator
import pytest
import torch
from checks import TOLERANCES, choices, double, each_dtype, normal, require_close, run
from emulator import Library
from torch import Tensor

from adair_core.ops.depthwise_gate import reference

# Hidden channels, height, width: vectors and single values, more and fewer than a tile has.
SIZES = [(2, 5, 5, 7), (1, 16, 9, 24), (1, 35, 3, 17), (2, 1, 1, 1), (1, 8, 34, 8), (1, 3, 2, 72)]


def stored(x: Tensor | None, last: bool) -> Tensor | None:
    if x is None:
        return None
    return x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format) if last else x.contiguous()


def images(x: Tensor, last: bool) -> Tensor:
    return x.permute(0, 3, 1, 2) if last else x


OPTIONAL = ("bias", "convolved", "to_weight", "to_bias")


def check(built: Library, size: tuple[int, ...], dtype: torch.dtype, last: bool, without: Collection[str] = ()) -> None:
    """Forward and backward; what is left out are tensors of `OPTIONAL`, or "to_x"."""
    batch, hidden, height, width = size
    tolerance = TOLERANCES[dtype]
    x, gradient = normal(batch, 2 * hidden, height, width, dtype=dtype), normal(*size, dtype=dtype, seed=1)
    # Rounded as the kernel rounds them.
    weight = normal(2 * hidden, 1, 3, 3, seed=2).to(dtype).float()
    bias = None if "bias" in without else normal(2 * hidden, seed=3).to(dtype).float()
    y = torch.empty_like(stored(gradient, last))
    convolved = None if "convolved" in without else torch.empty_like(stored(x, last))
    forward = {"x": stored(x, last), "weight": weight, "bias": bias, "channels_last": last}
    run(built, "depthwise_gate", **forward, y=y, convolved=convolved)
    truth = reference.depthwise_gate(x.double(), weight.double(), double(bias), True)
    require_close(images(y, last), truth[0], tolerance, "y")
    if convolved is not None:
        require_close(images(convolved, last), truth[1], tolerance, "convolved")

    kept = truth[1].to(dtype)
    gradients = {"to_x": torch.empty_like(stored(x, last)), "to_weight": torch.empty_like(weight)}
    gradients["to_bias"] = torch.empty(2 * hidden)
    found = {name: None if name in without else value for name, value in gradients.items()}
    backward = {"gradient": stored(gradient, last), "convolved": stored(kept, last), "weight": weight}
    backward |= {"x": None if "to_weight" in without else stored(x, last), "channels_last": last}
    run(built, "depthwise_gate_backward", **backward, **found)
    expected = reference.depthwise_gate_backward(
        gradient.double(), x.double(), weight.double(), None, kept.double(), [True, True, True]
    )
    # What the convolution's gradient is made of is rounded before.
    for (name, value), wanted in zip(found.items(), expected, strict=True):
        if value is not None:
            allowed = 1.5 * tolerance if name == "to_x" else 4e-6
            require_close(images(value, last) if name == "to_x" else value, wanted, allowed, name)


@each_dtype
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
@pytest.mark.parametrize("without", [OPTIONAL, ()], ids=["bare", "whole"])
def test_depthwise_gate_equals_the_reference(size, dtype: torch.dtype, last: bool, without: Collection[str]) -> None:
    check(emulator.library("depthwise_gate"), size, dtype, last, without)


def check_choices(built: Library, last: bool) -> None:
    for without in choices(OPTIONAL, "to_x"):
        check(built, (1, 3, 4, 5), torch.float32, last, without)


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
def test_any_choice_of_tensors(last: bool) -> None:
    check_choices(emulator.library("depthwise_gate"), last)


def check_gradient_of_large_values(built: Library, last: bool) -> None:
    """GELU's derivative where it is 0 or 1 in float32, at infinity too, of which it has no product with 0."""
    large = torch.tensor([25.0, -25.0, 1e30, -1e30, torch.inf, -torch.inf, 3.0, -3.0])
    a, b, gradient = large.expand(1, 2, 1, 8), normal(1, 2, 1, 8), normal(1, 2, 1, 8, seed=1)
    weight = torch.zeros(4, 1, 3, 3)
    weight[:, :, 1, 1] = 1  # what comes out is the gradient of a and b
    to_x = torch.empty_like(stored(torch.cat([a, b], 1), last))
    inputs = {"gradient": stored(gradient, last), "convolved": stored(torch.cat([a, b], 1), last), "weight": weight}
    inputs |= {"x": None, "channels_last": last}
    run(built, "depthwise_gate_backward", **inputs, to_x=to_x, to_weight=None, to_bias=None)
    normal_density = [math.exp(-4.5) / math.sqrt(2 * math.pi) * value for value in (3, -3)]
    below = [0.5 * math.erfc(-value / math.sqrt(2)) for value in (3, -3)]
    slopes = torch.tensor([1, 0, 1, 0, 1, 0, *map(operator.add, below, normal_density)], dtype=torch.float64)
    require_close(images(to_x, last)[:, :2], gradient.double() * b.double() * slopes, 2e-6, "to_a")


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
def test_gradients_of_large_values(last: bool) -> None:
    check_gradient_of_large_values(emulator.library("depthwise_gate"), last)
