"""The gate of Restormer's feed-forward network, in plain PyTorch.

With [a, b] = the two halves of the channels of dw(x), a depthwise 3x3 convolution with zero padding:

    y = GELU(a) b,    GELU(a) = a Phi(a) with Phi the standard normal distribution function

Source: Zamir et al., "Restormer", arXiv 2111.09881, eq. 3 (gated-Dconv feed-forward network). Gradients:

    dL/da = dL/dy b GELU'(a),    dL/db = dL/dy GELU(a)

and then those of the convolution, whose output is computed again rather than kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.ops.layout import memory_format


def depthwise_gate(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve and gate.

    Args:
        x: ``(B, 2h, H, W)``.
        weight: ``(2h, 1, 3, 3)``.
        bias: ``(2h,)`` or ``None``.

    Returns:
        ``(B, h, H, W)``.
    """
    a, b = _convolve(x, weight, bias).chunk(2, dim=1)
    return (functional.gelu(a) * b).contiguous(memory_format=memory_format(x))


def depthwise_gate_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, needs: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to x, weight and bias.

    Args:
        gradient: of the result, ``(B, h, H, W)``.
        x: as in `depthwise_gate`.
        weight: as in `depthwise_gate`.
        bias: as in `depthwise_gate`.
        needs: which of the three are wanted; the others are empty.

    Returns:
        ``(B, 2h, H, W)``, ``(2h, 1, 3, 3)``, ``(2h,)``.
    """
    a, b = _convolve(x, weight, bias).chunk(2, dim=1)
    to_a = torch.ops.aten.gelu_backward(gradient * b, a)
    inner = torch.cat([to_a, gradient * functional.gelu(a)], dim=1)
    to_x, to_weight, to_bias = torch.ops.aten.convolution_backward(
        inner, x, weight.to(x.dtype), [x.shape[1]], [1, 1], [1, 1], [1, 1], False, [0, 0], x.shape[1], list(needs)
    )
    return (
        to_x.contiguous(memory_format=memory_format(x)) if needs[0] else x.new_empty(0),
        to_weight.to(weight.dtype).contiguous() if needs[1] else weight.new_empty(0),
        to_bias.to(weight.dtype) if needs[2] else weight.new_empty(0),
    )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    bias = None if bias is None else bias.to(x.dtype)
    return functional.conv2d(x, weight.to(x.dtype), bias, padding=1, groups=x.shape[1])
