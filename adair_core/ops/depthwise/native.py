"""The depthwise convolution's native kernels (csrc/depthwise), which take both layouts as they are.

The time of PyTorch's kernel over theirs (1 thread, AVX-512 and AMX; 16 to 384 channels, 16 x 16 to 256 x 256 pixels):

                              forward     gradient of x  all gradients
    channels first  float32   1.5 to 4.4  1.8 to 4.9     1.4 to 4.7
                    bfloat16  1.0 to 3.5  1.1 to 4.2     1.3 to 3.7
    channels last   float32   1.0 to 3.1  1.0 to 4.1     1.0 to 4.2
                    bfloat16  1.0 to 2.8  1.6 to 3.3     1.6 to 3.4

The ratio falls with the image's size; channels last in float32 both wait for memory in the end.

These are kernels. A call of the operator takes 50 to 100 microseconds more, in Python, than one of PyTorch's
convolution. So PyTorch's call takes, over the operator's, 1.0 to 2.7 forward channels first, but channels last 0.7 to
0.9 up to 64 x 64 pixels and 0.8 to 1.1 for more. A network that works so calls the operator for what it need not keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.ops import pixel_steps
from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, dense, empty_dense, parameter, undense, unsuitable

FEW_CHANNELS = 16
FORWARD_PIXELS, BACKWARD_PIXELS = 12_000, 16_384
"""Channels last, PyTorch's kernel is faster for more pixels than these of fewer channels than a vector has, which ours
pads. Its time over ours: forward 1.4 at 64 x 64, 1.0 to 1.1 at 96 x 96, 0.6 to 0.7 at 256 x 256; backward in float32
1.2 at 128 x 128 and 0.8 to 0.9 at 256 x 256, in bfloat16 1.2 or more."""

_FEW = "channels last, PyTorch's convolution is faster for many pixels of few channels"


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _convolve(x, weight, bias, memory_format(x), flipped=False)


def _backward(
    gradient: Tensor, x: Tensor | None, weight: Tensor, channels_last: bool, needs: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    to_x = _convolve(gradient, weight, None, layout, flipped=True) if needs[0] else gradient.new_empty(0)
    to_weight = weight.new_empty(weight.shape, dtype=torch.float32) if needs[1] else None
    to_bias = weight.new_empty(len(weight), dtype=torch.float32) if needs[2] else None
    if needs[1] or needs[2]:
        source = dense(x, layout) if x is not None and needs[1] else None
        pixel_steps.kernels.depthwise_gradients(dense(gradient, layout), source, channels_last, to_weight, to_bias)
    return (
        to_x,
        weight.new_empty(0) if to_weight is None else to_weight.to(weight.dtype),
        weight.new_empty(0) if to_bias is None else to_bias.to(weight.dtype),
    )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, layout: torch.memory_format, *, flipped: bool) -> Tensor:
    result = empty_dense(x, x.shape[1], layout)
    pixel_steps.kernels.depthwise(
        dense(x, layout), parameter(weight), parameter(bias), flipped, layout == torch.channels_last, result
    )
    return undense(result, layout)


def _refusal(x: Tensor, *_: Any) -> str | None:
    if _is_last(x) and _is_many_of_few(x, FORWARD_PIXELS):
        return _FEW
    return unsuitable(x)


def _backward_refusal(gradient: Tensor, _x: Tensor | None, _weight: Tensor, channels_last: bool, *_: Any) -> str | None:
    if channels_last and gradient.dtype == torch.float32 and _is_many_of_few(gradient, BACKWARD_PIXELS):
        return _FEW
    return unsuitable(gradient)


def _is_last(x: Tensor) -> bool:
    return memory_format(x) == torch.channels_last


def _is_many_of_few(x: Tensor, pixels: int) -> bool:
    batch, channels, height, width = x.shape
    return not x.is_cuda and channels < FEW_CHANNELS and batch * height * width > pixels


FORWARD = NativeKernel(_forward, _refusal)
BACKWARD = NativeKernel(_backward, _backward_refusal)
