"""The depthwise convolution's CUDA kernels against PyTorch in float64."""

from __future__ import annotations

from pathlib import Path

import emulator
import pytest
import torch
from checks import TOLERANCES, double, each_dtype, normal, require_close, run
from torch import Tensor

# Batch, channels, height, width: vectors and single values, more and fewer than a tile has.
SIZES = [(2, 5, 5, 7), (1, 16, 9, 24), (1, 35, 3, 17), (2, 1, 1, 1), (1, 40, 34, 8)]


def pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def check(built: Path, size: tuple[int, ...], dtype: torch.dtype) -> None:
    batch, channels, height, width = size
    numbers = {"dtype": emulator.DTYPES[dtype], "images": batch, "channels": channels, "height": height, "width": width}
    x, gradient = normal(*size, dtype=dtype), normal(*size, dtype=dtype, seed=1)
    # Rounded as the kernel rounds them.
    weight, bias = (normal(*shape, seed=2).to(dtype).float() for shape in ((channels, 1, 3, 3), (channels,)))
    y, to_x, to_weight, to_bias = map(torch.empty_like, (pixels(x), pixels(x), weight, bias))
    run(built, "depthwise", {**numbers, "flipped": 0}, {"x": pixels(x), "weight": weight, "bias": bias}, {"y": y})
    inputs = {"x": pixels(gradient), "weight": weight}
    run(built, "depthwise", {**numbers, "flipped": 1}, inputs, {"y": to_x})
    outputs = {"to_weight": to_weight, "to_bias": to_bias}
    run(built, "depthwise_gradients", numbers, {"gradient": pixels(gradient), "x": pixels(x)}, outputs)
    only = torch.empty_like(bias)
    run(built, "depthwise_gradients", numbers, {"gradient": pixels(gradient)}, {"to_bias": only})
    assert torch.equal(only, to_bias)

    wide = [double(value).requires_grad_() for value in (x, weight, bias)]
    truth = torch.nn.functional.conv2d(*wide, padding=1, groups=channels)
    expected = torch.autograd.grad(truth, wide, gradient.double())
    require_close(y.permute(0, 3, 1, 2), truth.detach(), TOLERANCES[dtype], "y")
    require_close(to_x.permute(0, 3, 1, 2), expected[0], TOLERANCES[dtype], "to_x")
    require_close(to_weight, expected[1], 1e-5, "to_weight")
    require_close(to_bias, expected[2], 1e-5, "to_bias")


@each_dtype
@pytest.mark.parametrize("size", SIZES)
def test_depthwise_equals_pytorch(size, dtype: torch.dtype) -> None:
    check(emulator.library("depthwise"), size, dtype)
