"""The depthwise gate's native kernels (csrc/depthwise_gate), which take both layouts as they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, dense, empty_dense, parameter, refuse, undense


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, keep: bool) -> tuple[Tensor, Tensor]:
    layout = memory_format(x)
    channels = x.shape[1]
    result = empty_dense(x, channels // 2, layout)
    convolved = empty_dense(x, channels, layout) if keep else None
    torch.ops.adair_native.depthwise_gate(
        dense(x, layout), parameter(weight), parameter(bias), layout == torch.channels_last, result, convolved
    )
    return undense(result, layout), x.new_empty(0) if convolved is None else undense(convolved, layout)


def _backward(
    gradient: Tensor,
    x: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    convolved: Tensor | None,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    if convolved is None:
        assert x is not None
        convolved = _forward(x, weight, bias, True)[1]
    layout = memory_format(convolved if x is None else x)
    to_x = empty_dense(convolved, convolved.shape[1], layout) if needs[0] else None
    to_weight = torch.empty_like(weight, dtype=torch.float32, memory_format=torch.contiguous_format)
    to_bias = to_weight.new_empty(len(weight))
    torch.ops.adair_native.depthwise_gate_backward(
        dense(gradient, layout),
        dense(convolved, layout),
        dense(x, layout) if x is not None and needs[1] else None,
        parameter(weight),
        layout == torch.channels_last,
        to_x,
        to_weight if needs[1] else None,
        to_bias if needs[2] else None,
    )
    return (
        convolved.new_empty(0) if to_x is None else undense(to_x, layout),
        to_weight.to(weight.dtype) if needs[1] else weight.new_empty(0),
        to_bias.to(weight.dtype) if needs[2] else weight.new_empty(0),
    )


FORWARD = NativeKernel(_forward, refuse)
BACKWARD = NativeKernel(_backward, refuse)
