"""Restormer's feed-forward branch, in plain PyTorch.

    y = GDFN(LN(x)) (+ x),    GDFN(z) = W_out [GELU(a) b],    [a, b] = dw(W_in z)

with LN a layer norm over channels, W_in and W_out 1x1 convolutions and dw a depthwise 3x3 convolution with zero
padding. Source: Zamir et al., "Restormer", arXiv 2111.09881, eq. 3, and figure 2 for the layer norm and the residual.

For the backward pass only x and dw's output, [a, b], are kept; the layer norm, the gate and W_in z are computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.ops.convolution import convolution_backward, convolve
from adair_core.ops.depthwise.reference import depthwise, depthwise_backward
from adair_core.ops.depthwise_gate import reference as gate
from adair_core.ops.layer_norm2d import reference as norm
from adair_core.ops.layout import memory_format


def feed_forward(
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
    """Compute the branch.

    Args:
        x: ``(B, C, H, W)``.
        norm_weight: ``(C,)``.
        norm_bias: ``(C,)``; ``None`` is the bias-free kind.
        in_weight: ``(2h, C, 1, 1)``.
        in_bias: ``(2h,)`` or ``None``.
        depthwise_weight: ``(2h, 1, 3, 3)``.
        depthwise_bias: ``(2h,)`` or ``None``.
        out_weight: ``(C, h, 1, 1)``.
        out_bias: ``(C,)`` or ``None``.
        eps: added to the variance.
        residual: whether x is added.
        keep: whether to return dw's output too, so that the backward pass need not compute it again.

    Returns:
        ``(B, C, H, W)``, and dw's output, ``(B, 2h, H, W)``, empty unless `keep`.
    """
    normalised = norm.layer_norm2d(x, norm_weight, norm_bias, eps)[0]
    hidden = convolve(normalised, in_weight, in_bias)
    gated, convolved = gate.depthwise_gate(hidden, depthwise_weight, depthwise_bias, keep)
    result = convolve(gated, out_weight, out_bias)
    result = x + result if residual else result
    return result.contiguous(memory_format=memory_format(x)), convolved


def feed_forward_backward(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to x and the parameters.

    Args:
        gradient: of the result, ``(B, C, H, W)``.
        x: as in `feed_forward`, like the next ten.
        norm_weight: see `feed_forward`.
        norm_bias: see `feed_forward`.
        in_weight: see `feed_forward`.
        in_bias: see `feed_forward`.
        depthwise_weight: see `feed_forward`.
        depthwise_bias: see `feed_forward`.
        out_weight: see `feed_forward`.
        out_bias: see `feed_forward`.
        eps: see `feed_forward`.
        residual: see `feed_forward`.
        convolved: from `feed_forward`; computed again where ``None``.
        needs: which of the nine gradients (x, then the parameters in order) are wanted; the others are empty.

    Returns:
        The nine gradients.
    """
    layout = memory_format(x)
    gradient = gradient.contiguous(memory_format=layout)
    normalised, mean, rstd = norm.layer_norm2d(x, norm_weight, norm_bias, eps)
    hidden = None
    if convolved is None or needs[5]:
        hidden = convolve(normalised, in_weight, in_bias)
    if convolved is None:
        assert hidden is not None
        convolved = depthwise(hidden, depthwise_weight, depthwise_bias)
    a, b = convolved.chunk(2, dim=1)
    gated = (functional.gelu(a) * b).contiguous(memory_format=layout) if needs[7] else convolved[:, : a.shape[1]]
    to_gated, to_out, to_out_bias = convolution_backward(gradient, gated, out_weight, (True, needs[7], needs[8]))
    to_convolved = gate.gate_backward(to_gated, convolved)
    to_hidden, to_depthwise, to_depthwise_bias = depthwise_backward(
        to_convolved, hidden, depthwise_weight, layout == torch.channels_last, (True, needs[5], needs[6])
    )
    to_normalised, to_in, to_in_bias = convolution_backward(
        to_hidden, normalised, in_weight, (needs[0] or needs[1] or needs[2], needs[3], needs[4])
    )
    to_x = to_weight = to_bias = None
    if to_normalised is not None:
        to_x, to_weight, to_bias = norm.layer_norm2d_backward(
            to_normalised, x, norm_weight, mean, rstd, norm_bias is None, needs[1] or needs[2]
        )
        to_x = (to_x + gradient if residual else to_x).contiguous(memory_format=layout)
    found = (
        *(to_x, to_weight, to_bias),
        *(to_in, to_in_bias, to_depthwise, to_depthwise_bias, to_out, to_out_bias),
    )
    parameters = (x, norm_weight, norm_bias, in_weight, in_bias, depthwise_weight, depthwise_bias, out_weight, out_bias)
    return tuple(  # type: ignore[return-value]
        x.new_empty(0) if not need or value is None or parameter is None else value.to(parameter.dtype)
        for value, parameter, need in zip(found, parameters, needs, strict=True)
    )
