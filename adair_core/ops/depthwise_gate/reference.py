"""The gate of Restormer's feed-forward network, in plain PyTorch.

With [a, b] = the two halves of the channels of dw(x), a depthwise 3x3 convolution with zero padding:

    y = GELU(a) b,    GELU(a) = a Phi(a) with Phi the standard normal distribution function

Source: Zamir et al., "Restormer", arXiv 2111.09881, eq. 3 (gated-Dconv feed-forward network). Gradients:

    dL/da = dL/dy b GELU'(a),    dL/db = dL/dy GELU(a)

and then those of the convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.ops.depthwise.reference import depthwise, depthwise_backward
from adair_core.ops.layout import memory_format


def depthwise_gate(x: Tensor, weight: Tensor, bias: Tensor | None, keep: bool) -> tuple[Tensor, Tensor]:
    """Convolve and gate.

    Args:
        x: ``(B, 2h, H, W)``.
        weight: ``(2h, 1, 3, 3)``.
        bias: ``(2h,)`` or ``None``.
        keep: whether to return the convolution's output too, so that the backward pass need not compute it again.

    Returns:
        The result, ``(B, h, H, W)``, and dw(x), ``(B, 2h, H, W)``, empty unless `keep`.
    """
    convolved = depthwise(x, weight, bias)
    a, b = _halves(convolved)
    result = (functional.gelu(a) * b).contiguous(memory_format=memory_format(x))
    return result, convolved if keep else x.new_empty(0)


def depthwise_gate_backward(
    gradient: Tensor,
    x: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    convolved: Tensor | None,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to x, weight and bias.

    Args:
        gradient: of the result, ``(B, h, H, W)``.
        x: as in `depthwise_gate`; may be ``None`` where `convolved` is given and no weight gradient is wanted.
        weight: as in `depthwise_gate`.
        bias: as in `depthwise_gate`.
        convolved: from `depthwise_gate`; computed again from `x` where ``None``.
        needs: which of the three gradients are wanted; the others are empty.

    Returns:
        ``(B, 2h, H, W)``, ``(2h, 1, 3, 3)``, ``(2h,)``.
    """
    if convolved is None:
        assert x is not None
        convolved = depthwise(x, weight, bias)
    channels_last = memory_format(convolved if x is None else x) == torch.channels_last
    return depthwise_backward(gate_backward(gradient, convolved), x, weight, channels_last, needs)


def gate_backward(gradient: Tensor, convolved: Tensor) -> Tensor:
    """Gradient with respect to dw(x)."""
    a, b = _halves(convolved)
    to_a = torch.ops.aten.gelu_backward(gradient * b, a)
    return torch.cat([to_a, gradient * functional.gelu(a)], dim=1)


def _halves(convolved: Tensor) -> tuple[Tensor, Tensor]:
    a, b = convolved.chunk(2, dim=1)
    layout = memory_format(convolved)
    # Channels last, the vector loop of GELU would end at every pixel: it is twice as fast on a dense copy.
    return a.contiguous(memory_format=layout) if layout == torch.channels_last else a, b
