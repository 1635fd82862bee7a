"""The feed-forward branch's native kernels (csrc/feed_forward), and where the library's matrix products serve better.

In float32, wide layers are all product, and the library reads weights as they lie, where the kernel packs them first.
Its products over the kernel (1 thread, AVX-512; forward, backward with the gradients of LoRA): at 384 channels 1.15 and
1.37 for 32 x 32 pixels, 1.21 and 1.52 for 16 x 16, 1.5 and 1.7 for 9 x 7; at 128 channels 1.55 for 8 x 8; but at 192
channels 1.06 and 1.01 for 17 x 13, 0.85 and 0.96 for 64 x 64. In bfloat16 the kernel is as fast or faster everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.ops.branches import Sets, gathered
from adair_core.ops.feed_forward import composed
from adair_core.ops.feed_forward.parameters import Parameters
from adair_core.ops.layout import memory_format
from adair_core.ops.native import (
    NativeKernel,
    choices,
    empty_gradients,
    empty_pixels,
    gradients,
    images,
    pixels,
    refuse,
    refuse_backward,
)

WIDE_CHANNELS = 256
FEW_PIXELS, CHANNELS_OF_FEW_PIXELS = 128, 128
"""What is composed of the library's products, in float32."""


def composes(x: Tensor) -> bool:
    """Whether the library's matrix products serve `x` better than the kernel."""
    batch, channels, height, width = x.shape
    few = batch * height * width <= FEW_PIXELS and channels >= CHANNELS_OF_FEW_PIXELS
    return x.dtype == torch.float32 and (channels >= WIDE_CHANNELS or few)


def _forward(
    x: Tensor,
    parameters: Parameters,
    eps: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    if composes(x):
        return composed.forward(x, parameters, eps, residual, keep)
    return _run(x, Sets([len(x)], [choices(value) for value in parameters], []), eps, residual, keep)


def forward_sets(x: Tensor, sets: Sets, eps: float, residual: bool) -> Tensor:
    """Compute the branch of images that may differ in parameters, and what is added to it; without gradients.

    Args:
        x: ``(B, C, H, W)``.
        sets: of the parameters in the order of `feed_forward`.
        eps: added to the variance.
        residual: whether x is added.
    """
    return _run(x, sets, eps, residual, False)[0]


def _run(x: Tensor, sets: Sets, eps: float, residual: bool, keep: bool) -> tuple[Tensor, Tensor]:
    norm_weight, norm_bias, *others = sets.parameters
    layout = memory_format(x)
    in_weight = sets.parameters[2][0]
    assert in_weight is not None
    result = empty_pixels(x, x.shape[1])
    convolved = empty_pixels(x, in_weight.shape[0]) if keep else None
    torch.ops.adair_native.feed_forward(
        pixels(x), sets.counts, norm_weight, norm_bias, eps, *others, residual, sets.epilogue, result, convolved
    )
    return images(result, layout), x.new_empty(0) if convolved is None else images(convolved, layout)


def _backward(
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    eps: float,
    residual: bool,
    convolved: Tensor | None,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    if composes(x):
        return composed.backward(gradient, x, parameters, eps, residual, convolved, needs)
    if convolved is None:
        convolved = _forward(x, parameters, eps, residual, True)[1]
    norm_weight, norm_bias, *others = map(choices, parameters)
    to_x = empty_pixels(x, x.shape[1]) if needs[0] else None
    found = empty_gradients(parameters, needs[1:])
    torch.ops.adair_native.feed_forward_backward(
        pixels(gradient.to(x.dtype)),
        pixels(x),
        norm_weight,
        norm_bias,
        eps,
        *others,
        residual,
        pixels(convolved),
        to_x,
        *found,
    )
    return gradients(x, to_x, found, parameters)


FORWARD = NativeKernel(gathered(Parameters, _forward, after=1), refuse)
BACKWARD = NativeKernel(gathered(Parameters, _backward, after=2), refuse_backward)
