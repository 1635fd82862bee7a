"""A bottleneck of convolutions, in plain PyTorch.

    y = s up(GELU(dw(down(x) (+ injected)))) (+ base) (+ x)

with down and up 1x1 convolutions and dw a depthwise 3x3 convolution with zero padding. Source: the bottleneck
adapter of Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", arXiv 1902.00751, figure 2, with a
depthwise convolution for images. The scale is folded into the up-projection: s W_up, s b_up.

Gradients are those of the three convolutions and of the GELU; what lies between them is computed again rather
than kept. With U = dL/d(s W_up) and u = dL/d(s b_up): dL/dW_up = s U, dL/db_up = s u, dL/ds = <U, W_up> + <u, b_up>.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.ops.convolution import convolution_backward, convolve
from adair_core.ops.layout import accumulation_dtype, memory_format


def bottleneck(
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor | None,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor | None,
    up_weight: Tensor,
    up_bias: Tensor | None,
    scale: Tensor,
    base: Tensor | None = None,
    injected: Tensor | None = None,
    residual: bool = False,
) -> Tensor:
    """Compute what the adapter makes of x, and add to it `base`, where there is one, and x, for a residual.

    Args:
        x: ``(B, C, H, W)``.
        down_weight: ``(r, C, 1, 1)``.
        down_bias: ``(r,)`` or ``None``.
        depthwise_weight: ``(r, 1, 3, 3)``.
        depthwise_bias: ``(r,)`` or ``None``.
        up_weight: ``(C, r, 1, 1)``.
        up_bias: ``(C,)`` or ``None``.
        scale: one element.
        base: ``(B, C, H, W)`` or ``None``.
        injected: ``(B, r, H, W)`` or ``None``.
        residual: whether x is added.

    Returns:
        ``(B, C, H, W)``.
    """
    reduced = _reduce(x, down_weight, down_bias, injected)
    hidden = functional.gelu(convolve(reduced, depthwise_weight, depthwise_bias, padding=1, groups=reduced.shape[1]))
    weight, bias = _scaled(up_weight, up_bias, scale, accumulation_dtype(x))
    result = convolve(hidden, weight, bias)
    result = result if base is None else base + result
    result = x + result if residual else result
    return result.contiguous(memory_format=memory_format(x))


def bottleneck_backward(
    gradient: Tensor,
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor | None,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor | None,
    up_weight: Tensor,
    up_bias: Tensor | None,
    scale: Tensor,
    injected: Tensor | None,
    needs_x: bool,
    residual: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to all inputs of `bottleneck` but base, whose gradient is that of the result.

    Args:
        gradient: of the result, ``(B, C, H, W)``.
        x: as in `bottleneck`, like the next seven.
        down_weight: see `bottleneck`.
        down_bias: see `bottleneck`.
        depthwise_weight: see `bottleneck`.
        depthwise_bias: see `bottleneck`.
        up_weight: see `bottleneck`.
        up_bias: see `bottleneck`.
        scale: see `bottleneck`.
        injected: see `bottleneck`.
        needs_x: whether the gradient of x is wanted; without, it is empty.
        residual: see `bottleneck`.

    Returns:
        Gradients in the order of the inputs; those of inputs that are ``None`` are empty.
    """
    kind = accumulation_dtype(x)
    reduced = _reduce(x, down_weight, down_bias, injected)
    convolved = convolve(reduced, depthwise_weight, depthwise_bias, padding=1, groups=reduced.shape[1])
    weight, _ = _scaled(up_weight, None, scale, kind)
    to_hidden, to_scaled, to_scaled_bias = convolution_backward(
        gradient, functional.gelu(convolved), weight, (True, True, up_bias is not None)
    )
    to_convolved = torch.ops.aten.gelu_backward(to_hidden, convolved)
    to_reduced, to_depthwise, to_depthwise_bias = convolution_backward(
        to_convolved, reduced, depthwise_weight, (True, True, depthwise_bias is not None), padding=1
    )
    to_x, to_down, to_down_bias = convolution_backward(
        to_reduced, x, down_weight, (needs_x, True, down_bias is not None)
    )
    to_x = to_x + gradient if needs_x and residual else to_x
    wide_scale, to_scaled = scale.to(kind), to_scaled.to(kind)
    to_scale = (to_scaled * up_weight.to(kind)).sum()
    to_up_bias = x.new_empty(0)
    if up_bias is not None:
        to_scaled_bias = to_scaled_bias.to(kind)
        to_scale = to_scale + (to_scaled_bias * up_bias.to(kind)).sum()
        to_up_bias = (wide_scale * to_scaled_bias).to(up_bias.dtype)
    return (
        to_x.contiguous(memory_format=memory_format(x)) if needs_x else x.new_empty(0),
        to_down.to(down_weight.dtype).contiguous(),
        x.new_empty(0) if down_bias is None else to_down_bias.to(down_bias.dtype),
        to_depthwise.to(depthwise_weight.dtype).contiguous(),
        x.new_empty(0) if depthwise_bias is None else to_depthwise_bias.to(depthwise_bias.dtype),
        (wide_scale * to_scaled).to(up_weight.dtype).contiguous(),
        to_up_bias,
        to_scale.reshape(scale.shape).to(scale.dtype),
        x.new_empty(0) if injected is None else to_reduced.contiguous(memory_format=memory_format(x)),
    )


def _reduce(x: Tensor, weight: Tensor, bias: Tensor | None, injected: Tensor | None) -> Tensor:
    reduced = convolve(x, weight, bias)
    return reduced if injected is None else reduced + injected


def _scaled(weight: Tensor, bias: Tensor | None, scale: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Fold the scale, in float32, into the up-projection."""
    wide_scale = scale.to(kind).reshape(())
    return weight.to(kind) * wide_scale, None if bias is None else bias.to(kind) * wide_scale
