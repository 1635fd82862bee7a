"""The attention branch's native kernels (csrc/attention_branch)."""

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
    qkv_weight: Tensor,
    qkv_bias: Tensor | None,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor | None,
    temperature: Tensor,
    out_weight: Tensor,
    out_bias: Tensor | None,
    eps: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    layout = memory_format(x)
    batch, channels, heads = *x.shape[:2], temperature.shape[0]
    result = empty_pixels(x, channels)
    # The second pass over the pixels needs the values, the backward pass queries and keys too.
    kept = empty_pixels(x, 3 * channels if keep else channels)
    cosines = torch.empty((batch, heads, channels // heads, channels // heads), dtype=torch.float32)
    lengths = torch.empty((2, batch, heads, channels // heads), dtype=torch.float32)
    torch.ops.adair_native.attention_branch(
        pixels(x),
        parameter(norm_weight),
        parameter(norm_bias),
        eps,
        parameter(qkv_weight),
        parameter(qkv_bias),
        parameter(depthwise_weight),
        parameter(depthwise_bias),
        parameter(temperature),
        parameter(out_weight),
        parameter(out_bias),
        residual,
        result,
        kept,
        keep,
        cosines,
        lengths,
    )
    return images(result, layout), images(kept, layout) if keep else x.new_empty(0), cosines, lengths


def _refuse(x: Tensor, *_: Any) -> str | None:
    return unsuitable(x)


FORWARD = NativeKernel(_forward, _refuse)
