"""The attention branch's native kernels (csrc/attention_branch), and where the library's matrix products serve better.

In float32, the widest layers are all product, and the library reads weights as they lie, where the kernel packs them
first. The kernel's time over that with the library's products (1 thread, AVX-512; forward, backward with the gradients
of LoRA): at 384 channels 1.16 and 1.59 for 9 x 7 pixels, 1.09 and 1.22 for 16 x 16, 1.05 and 1.04 for 32 x 32; at 256
channels 0.96 and 1.30 for 9 x 7, 0.92 and 1.03 for 16 x 16; at 192 channels less than 0.96 forward. In bfloat16 the
kernel is faster everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.ops.attention_branch import composed
from adair_core.ops.attention_branch.parameters import Parameters
from adair_core.ops.branches import Sets, gathered
from adair_core.ops.layout import memory_format
from adair_core.ops.native import (
    NativeKernel,
    choices,
    empty_gradients,
    empty_pixels,
    gradients,
    images,
    parameter,
    pixels,
    refuse,
    refuse_backward,
)

WIDE_CHANNELS, WIDE_CHANNELS_BACKWARD = 320, 256
"""From which on a pass is composed of the library's products, in float32."""


def composes(x: Tensor, *, backward: bool = False) -> bool:
    """Whether the library's matrix products serve `x` better than the kernel."""
    return x.dtype == torch.float32 and x.shape[1] >= (WIDE_CHANNELS_BACKWARD if backward else WIDE_CHANNELS)


def _forward(
    x: Tensor,
    parameters: Parameters,
    eps: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if composes(x):
        return composed.forward(composed.ProjectedByLibrary, x, parameters, eps, residual, keep)
    return _run(x, Sets([len(x)], [choices(value) for value in parameters], []), eps, residual, keep)


def forward_sets(x: Tensor, sets: Sets, eps: float, residual: bool) -> Tensor:
    """Compute the branch of images that may differ in parameters, and what is added to it; without gradients.

    Args:
        x: ``(B, C, H, W)``.
        sets: of the parameters in the order of `attention_branch`.
        eps: added to the variance.
        residual: whether x is added.
    """
    return _run(x, sets, eps, residual, False)[0]


def _run(x: Tensor, sets: Sets, eps: float, residual: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    norm_weight, norm_bias, *others = sets.parameters
    layout = memory_format(x)
    temperature = sets.parameters[6][0]
    assert temperature is not None
    batch, channels, heads = *x.shape[:2], temperature.shape[0]
    result = empty_pixels(x, channels)
    # The second pass over the pixels needs the values, the backward pass queries and keys too.
    kept = empty_pixels(x, 3 * channels if keep else channels)
    cosines = torch.empty((batch, heads, channels // heads, channels // heads), dtype=torch.float32)
    lengths = torch.empty((2, batch, heads, channels // heads), dtype=torch.float32)
    torch.ops.adair_native.attention_branch(
        *(pixels(x), sets.counts, norm_weight, norm_bias, eps, *others, residual, sets.epilogue),
        *(result, kept, keep, cosines, lengths),
    )
    return images(result, layout), images(kept, layout) if keep else x.new_empty(0), cosines, lengths


def _backward(
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
    if composes(x, backward=True):
        kept = (qkv, cosines, lengths)
        return composed.backward(composed.ProjectedByLibrary, gradient, x, parameters, eps, residual, *kept, needs)
    norm_weight, norm_bias, *others = map(choices, parameters)
    to_x = empty_pixels(x, x.shape[1]) if needs[0] else None
    found = empty_gradients(parameters, needs[1:])
    torch.ops.adair_native.attention_branch_backward(
        pixels(gradient.to(x.dtype)),
        pixels(x),
        norm_weight,
        norm_bias,
        eps,
        *others,
        residual,
        pixels(qkv),
        parameter(cosines),
        parameter(lengths),
        to_x,
        *found,
    )
    return gradients(x, to_x, found, parameters)


FORWARD = NativeKernel(gathered(Parameters, _forward, after=1), refuse)
BACKWARD = NativeKernel(gathered(Parameters, _backward, after=2), refuse_backward)
