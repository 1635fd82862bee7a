"""The layer norm's native kernels (csrc/layer_norm2d), which take both layouts as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, dense, empty_dense, parameter, refuse, undense


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    layout = memory_format(x)
    batch, channels, height, width = x.shape
    mean = x.new_empty((batch, 1, height, width), dtype=torch.float32)
    rstd = torch.empty_like(mean)
    result = empty_dense(x, channels, layout)
    channels_last = layout == torch.channels_last
    torch.ops.adair_native.layer_norm2d(
        dense(x, layout), parameter(weight), parameter(bias), eps, channels_last, result, mean, rstd
    )
    return undense(result, layout), mean, rstd


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, bias_free: bool, affine: bool
) -> tuple[Tensor, Tensor, Tensor]:
    layout = memory_format(x)
    to_x = empty_dense(x, x.shape[1], layout)
    to_weight = torch.empty_like(weight, dtype=torch.float32) if affine else None
    to_bias = torch.empty_like(weight, dtype=torch.float32) if affine and not bias_free else None
    torch.ops.adair_native.layer_norm2d_backward(
        dense(gradient, layout),
        dense(x, layout),
        parameter(weight),
        mean,
        rstd,
        bias_free,
        layout == torch.channels_last,
        to_x,
        to_weight,
        to_bias,
    )
    return (
        undense(to_x, layout),
        weight.new_empty(0) if to_weight is None else to_weight.to(weight.dtype),
        weight.new_empty(0) if to_bias is None else to_bias.to(weight.dtype),
    )


FORWARD = NativeKernel(_forward, refuse)
BACKWARD = NativeKernel(_backward, refuse)
