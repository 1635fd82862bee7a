"""The attention branch on a CUDA device: kernels (csrc) around the library's matrix product to 3C channels.

What moves, of U = B C H W values: layer norm 2, expansion 4, depthwise convolution 6, q k^T 2, and 3 for the output
with projection and residual: 17 U, where eager PyTorch moves 41.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.ops import pixel_steps
from adair_core.ops.channel_attention.native import attend, attend_backward
from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, empty_gradients, gradients, images, pixels, refuse, refuse_backward
from adair_core.ops.pixel_steps import convolve_depthwise, normalise, normalise_backward, project, project_backward


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
    layout, source = memory_format(x), pixels(x)
    expanded = project(normalise(source, norm_weight, norm_bias, eps)[0], qkv_weight, qkv_bias)
    qkv = convolve_depthwise(expanded, depthwise_weight, depthwise_bias)
    base = source if residual else None
    result, cosines, lengths = attend(qkv, temperature, out_weight, out_bias, base)
    return images(result, layout), images(qkv, layout) if keep else x.new_empty(0), cosines, lengths


def _backward(
    gradient: Tensor,
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
    qkv: Tensor,
    cosines: Tensor,
    lengths: Tensor,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    source, outer = pixels(x), pixels(gradient.to(x.dtype))
    norm, depthwise = (norm_weight, norm_bias), (depthwise_weight, depthwise_bias)
    to_x = to_in = to_in_bias = None
    to_norm: Sequence[Tensor | None] = (None, None)
    to_depthwise = empty_gradients(depthwise, needs[5:7])
    to_qkv, to_temperature, to_out = attend_backward(
        outer, pixels(qkv), temperature, out_weight, (cosines, lengths), (any(needs[:7]), needs[7], needs[8])
    )
    to_out_bias = outer.sum((0, 1, 2), dtype=torch.float32) if needs[9] else None
    if to_qkv is not None:
        normalised, mean, rstd = normalise(source, *norm, eps)
        if any(value is not None for value in to_depthwise):
            expanded = project(normalised, qkv_weight, qkv_bias) if needs[5] else None
            pixel_steps.kernels.depthwise_gradients(to_qkv, expanded, True, *to_depthwise)
        if any(needs[:5]):
            to_expanded = convolve_depthwise(to_qkv, depthwise_weight, None, flipped=True)
            to_normalised, to_in, to_in_bias = project_backward(
                to_expanded, normalised, qkv_weight, (any(needs[:3]), *needs[3:5])
            )
            if to_normalised is not None:
                to_x, *to_norm = normalise_backward(to_normalised, source, (mean, rstd), norm, needs[1:3])
                to_x = to_x.add_(outer) if residual else to_x
    found = (*to_norm, to_in, to_in_bias, *to_depthwise, to_temperature, to_out, to_out_bias)
    parameters = (*norm, qkv_weight, qkv_bias, *depthwise, temperature, out_weight, out_bias)
    return gradients(x, to_x if needs[0] else None, found, parameters)


FORWARD = NativeKernel(_forward, refuse)
BACKWARD = NativeKernel(_backward, refuse_backward)
