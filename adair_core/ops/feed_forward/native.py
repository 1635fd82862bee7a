"""The feed-forward branch's native kernels (csrc/feed_forward)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
    parameters = (
        *(norm_weight, norm_bias, in_weight, in_bias),
        *(depthwise_weight, depthwise_bias, out_weight, out_bias),
    )
    return _run(x, parameters, [len(x)], eps, residual, keep)


def forward_each(
    x: Tensor, parameters: Sequence[Tensor | None], counts: Sequence[int], eps: float, residual: bool
) -> Tensor:
    """Compute the branch of images that differ in parameters; without gradients.

    Args:
        x: ``(B, C, H, W)``.
        parameters: in the order of `feed_forward`, some of them `PerImage`.
        counts: of all of these.
        eps: added to the variance.
        residual: whether x is added.
    """
    return _run(x, parameters, counts, eps, residual, False)[0]


def _run(
    x: Tensor, parameters: Sequence[Tensor | None], counts: Sequence[int], eps: float, residual: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    norm_weight, norm_bias, *others = map(choices, parameters)
    layout = memory_format(x)
    in_weight = parameters[2]
    assert in_weight is not None
    result = empty_pixels(x, x.shape[1])
    convolved = empty_pixels(x, in_weight.shape[0]) if keep else None
    torch.ops.adair_native.feed_forward(
        pixels(x), counts, norm_weight, norm_bias, eps, *others, residual, result, convolved
    )
    return images(result, layout), x.new_empty(0) if convolved is None else images(convolved, layout)


def _backward(
    gradient: Tensor,
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
    convolved: Tensor | None,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    norm, into, depthwise, out = (
        (norm_weight, norm_bias),
        (in_weight, in_bias),
        (depthwise_weight, depthwise_bias),
        (out_weight, out_bias),
    )
    parameters = (*norm, *into, *depthwise, *out)
    if convolved is None:
        convolved = _forward(x, *parameters, eps, residual, True)[1]
    to_x = empty_pixels(x, x.shape[1]) if needs[0] else None
    found = empty_gradients(parameters, needs[1:])
    torch.ops.adair_native.feed_forward_backward(
        pixels(gradient.to(x.dtype)),
        pixels(x),
        *map(choices, norm),
        eps,
        *map(choices, (*into, *depthwise, *out)),
        residual,
        pixels(convolved),
        to_x,
        *found,
    )
    return gradients(x, to_x, found, parameters)


FORWARD = NativeKernel(_forward, refuse)
BACKWARD = NativeKernel(_backward, refuse_backward)
