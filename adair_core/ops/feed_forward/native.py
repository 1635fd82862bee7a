"""The feed-forward branch's native kernel (csrc/feed_forward)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, empty_pixels, images, parameter, pixels, unsuitable


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
    layout = memory_format(x)
    channels, hidden = x.shape[1], in_weight.shape[0]
    result = empty_pixels(x, channels)
    convolved = empty_pixels(x, hidden) if keep else None
    torch.ops.adair_native.feed_forward(
        pixels(x),
        parameter(norm_weight),
        parameter(norm_bias),
        eps,
        parameter(in_weight),
        parameter(in_bias),
        parameter(depthwise_weight),
        parameter(depthwise_bias),
        parameter(out_weight),
        parameter(out_bias),
        residual,
        result,
        convolved,
    )
    return images(result, layout), x.new_empty(0) if convolved is None else images(convolved, layout)


def _refusal(x: Tensor, *_: Any) -> str | None:
    return unsuitable(x)


FORWARD = NativeKernel(_forward, _refusal)
