"""The attention branch around the library's matrix products, on pixels ``(B, H, W, C)``, on any device with kernels.

Of U = B C H W values the layer norm moves 2, the expansion 4, the depthwise convolution 6, q k^T 2, and the output 3 if
one kernel does projection and residual, as on a CUDA device: 17 U. Eager PyTorch moves 41. On a CPU the projection is a
product of the library, too: this is for layers so wide that the products take the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from adair_core.ops import pixel_steps
from adair_core.ops.attention_branch.parameters import Parameters
from adair_core.ops.channel_attention.native import attend, attend_backward
from adair_core.ops.layout import memory_format
from adair_core.ops.native import empty_gradients, gradients, images, pixels
from adair_core.ops.pixel_steps import convolve_depthwise, normalise, normalise_backward, project, project_backward


class Attention(Protocol):
    """The attention of a branch with its output projection; tensors as `attend` and `attend_backward` take them."""

    def forward(
        self,
        qkv: Tensor,
        temperature: Tensor,
        out_weight: Tensor,
        out_bias: Tensor | None,
        base: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The projected attention, plus `base`, and the cosines and lengths."""

    def backward(
        self,
        gradient: Tensor,
        qkv: Tensor,
        temperature: Tensor,
        out_weight: Tensor,
        kept: tuple[Tensor, Tensor],
        needs: tuple[bool, bool, bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients with respect to qkv, temperature and output weight, where they are wanted."""


class InOneKernel:
    """Attention whose kernel projects."""

    forward = staticmethod(attend)
    backward = staticmethod(attend_backward)


class ProjectedByLibrary:
    """Attention by a kernel, and the projection by a product of the library."""

    @staticmethod
    def forward(
        qkv: Tensor, temperature: Tensor, out_weight: Tensor, out_bias: Tensor | None, base: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `Attention.forward`."""
        attended, cosines, lengths = attend(qkv, temperature)
        result = project(attended, out_weight, out_bias)
        return result if base is None else result.add_(base), cosines, lengths

    @staticmethod
    def backward(
        gradient: Tensor,
        qkv: Tensor,
        temperature: Tensor,
        out_weight: Tensor,
        kept: tuple[Tensor, Tensor],
        needs: tuple[bool, bool, bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """As `Attention.backward`."""
        attended = attend(qkv, temperature)[0] if needs[2] else None
        inner = needs[0] or needs[1]
        to_attended, to_out_weight, _ = project_backward(gradient, attended, out_weight, (inner, needs[2], False))
        to_qkv = to_temperature = None
        if to_attended is not None:
            to_qkv, to_temperature, _ = attend_backward(
                to_attended, qkv, temperature, None, kept, (needs[0], needs[1], False)
            )
        return to_qkv, to_temperature, to_out_weight


def forward(
    attention: Attention,
    x: Tensor,
    parameters: Parameters,
    eps: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.attention_branch`."""
    p, layout, source = parameters, memory_format(x), pixels(x)
    expanded = project(normalise(source, p.norm_weight, p.norm_bias, eps)[0], p.qkv_weight, p.qkv_bias)
    qkv = convolve_depthwise(expanded, p.depthwise_weight, p.depthwise_bias)
    base = source if residual else None
    result, cosines, lengths = attention.forward(qkv, p.temperature, p.out_weight, p.out_bias, base)
    return images(result, layout), images(qkv, layout) if keep else x.new_empty(0), cosines, lengths


def backward(
    attention: Attention,
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    eps: float,
    residual: bool,
    qkv: Tensor,
    cosines: Tensor,
    lengths: Tensor,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    """As `reference.attention_branch_backward`."""
    p, source, outer = parameters, pixels(x), pixels(gradient.to(x.dtype))
    norm, depthwise = (p.norm_weight, p.norm_bias), (p.depthwise_weight, p.depthwise_bias)
    to_x = to_in = to_in_bias = None
    to_norm: Sequence[Tensor | None] = (None, None)
    to_depthwise = empty_gradients(depthwise, needs[5:7])
    to_qkv, to_temperature, to_out = attention.backward(
        outer, pixels(qkv), p.temperature, p.out_weight, (cosines, lengths), (any(needs[:7]), needs[7], needs[8])
    )
    to_out_bias = outer.sum((0, 1, 2), dtype=torch.float32) if needs[9] else None
    if to_qkv is not None:
        normalised, mean, rstd = normalise(source, *norm, eps)
        if any(value is not None for value in to_depthwise):
            expanded = project(normalised, p.qkv_weight, p.qkv_bias) if needs[5] else None
            pixel_steps.kernels.depthwise_gradients(to_qkv, expanded, True, *to_depthwise)
        if any(needs[:5]):
            to_expanded = convolve_depthwise(to_qkv, p.depthwise_weight, None, flipped=True)
            to_normalised, to_in, to_in_bias = project_backward(
                to_expanded, normalised, p.qkv_weight, (any(needs[:3]), *needs[3:5])
            )
            if to_normalised is not None:
                to_x, *to_norm = normalise_backward(to_normalised, source, (mean, rstd), norm, needs[1:3])
                to_x = to_x.add_(outer) if residual else to_x
    found = (*to_norm, to_in, to_in_bias, *to_depthwise, to_temperature, to_out, to_out_bias)
    return gradients(x, to_x if needs[0] else None, found, parameters)
