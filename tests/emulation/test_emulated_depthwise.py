"""The depthwise convolution's CUDA kernels against PyTorch in float64."""

from __future__ import annotations

import emulator
import pytest
import torch
from checks import TOLERANCES, double, each_dtype, normal, require_close, run
from emulator import Library
from torch import Tensor

# Batch, channels, height, width: vectors and single values, more and fewer than a tile has.
SIZES = [(2, 5, 5, 7), (1, 16, 9, 24), (1, 35, 3, 17), (2, 1, 1, 1), (1, 40, 34, 8)]


def stored(x: Tensor, last: bool) -> Tensor:
    return x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format) if last else x.contiguous()


def images(x: Tensor, last: bool) -> Tensor:
    return x.permute(0, 3, 1, 2) if last else x


def check(built: Library, size: tuple[int, ...], dtype: torch.dtype, last: bool) -> None:
    channels = size[1]
    x, gradient = normal(*size, dtype=dtype), normal(*size, dtype=dtype, seed=1)
    # Rounded as the kernel rounds them.
    weight, bias = (normal(*shape, seed=2).to(dtype).float() for shape in ((channels, 1, 3, 3), (channels,)))
    source, outer = stored(x, last), stored(gradient, last)
    y, to_x, to_weight, to_bias = map(torch.empty_like, (source, source, weight, bias))
    run(built, "depthwise", x=source, weight=weight, bias=bias, flipped=False, channels_last=last, y=y)
    run(built, "depthwise", x=outer, weight=weight, bias=None, flipped=True, channels_last=last, y=to_x)
    backward = {"gradient": outer, "channels_last": last}
    run(built, "depthwise_gradients", **backward, x=source, to_weight=to_weight, to_bias=to_bias)
    only = {"to_weight": torch.empty_like(weight), "to_bias": torch.empty_like(bias)}
    run(built, "depthwise_gradients", **backward, x=None, to_weight=None, to_bias=only["to_bias"])
    run(built, "depthwise_gradients", **backward, x=source, to_weight=only["to_weight"], to_bias=None)
    assert torch.equal(only["to_bias"], to_bias)
    assert torch.equal(only["to_weight"], to_weight)

    wide = [double(value).requires_grad_() for value in (x, weight, bias)]
    truth = torch.nn.functional.conv2d(*wide, padding=1, groups=channels)
    expected = torch.autograd.grad(truth, wide, gradient.double())
    require_close(images(y, last), truth.detach(), TOLERANCES[dtype], "y")
    require_close(images(to_x, last), expected[0], TOLERANCES[dtype], "to_x")
    require_close(to_weight, expected[1], 1e-5, "to_weight")
    require_close(to_bias, expected[2], 1e-5, "to_bias")


@each_dtype
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "channels_first"])
def test_depthwise_equals_pytorch(size, dtype: torch.dtype, last: bool) -> None:
    check(emulator.library("depthwise"), size, dtype, last)
