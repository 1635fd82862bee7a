"""The feed-forward branch on a CUDA device (csrc/feed_forward): one kernel while channels are few, else `composed`."""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.ops import pixel_steps
from adair_core.ops.feed_forward import composed
from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, images, parameter, pixels, refuse, refuse_backward

MOST_CHANNELS = 96
"""Of the kernel (kLargestFeedForward): it keeps them in registers."""


def _forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor | None,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    eps: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    parameters = (in_weight, in_bias, depthwise_weight, depthwise_bias, out_weight, out_bias)
    if x.shape[1] > MOST_CHANNELS:
        return composed.forward(x, norm_weight, norm_bias, *parameters, eps, residual, keep)
    layout, source = memory_format(x), pixels(x)
    convolved = source.new_empty((*source.shape[:3], in_weight.shape[0])) if keep else None
    result = torch.empty_like(source)
    pixel_steps.kernels.feed_forward_in_tiles(
        *(source, parameter(norm_weight), parameter(norm_bias), eps),
        *(*map(parameter, parameters), residual, result, convolved),
    )
    return images(result, layout), x.new_empty(0) if convolved is None else images(convolved, layout)


FORWARD = NativeKernel(_forward, refuse)
BACKWARD = NativeKernel(composed.backward, refuse_backward)
