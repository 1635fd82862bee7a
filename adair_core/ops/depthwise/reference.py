"""The depthwise 3x3 convolution, in plain PyTorch.

With x zero outside of the image, channel by channel,

    y[i, j] = b + sum over k, l of w[k, l] x[i + k - 1, j + l - 1]

Gradients, with g = dL/dy, which is zero outside of the image too:

    dL/dx[i, j] = sum over k, l of w[2 - k, 2 - l] g[i + k - 1, j + l - 1]    the same convolution, its taps flipped
    dL/dw[k, l] = sum over pixels of g[i, j] x[i + k - 1, j + l - 1],    dL/db = sum over pixels of g
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.ops import convolution
from adair_core.ops.layout import memory_format


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve.

    Args:
        x: ``(B, C, H, W)``.
        weight: ``(C, 1, 3, 3)``.
        bias: ``(C,)`` or ``None``.

    Returns:
        ``(B, C, H, W)``.
    """
    result = convolution.convolve(x, weight, bias, padding=1, groups=x.shape[1])
    return result.contiguous(memory_format=memory_format(x))


def depthwise_backward(
    gradient: Tensor, x: Tensor | None, weight: Tensor, channels_last: bool, needs: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to x, weight and bias.

    Args:
        gradient: of the result, ``(B, C, H, W)``.
        x: as in `depthwise`; may be ``None`` where no weight gradient is wanted.
        weight: as in `depthwise`.
        channels_last: the memory format of the result for `x`.
        needs: which of the three gradients are wanted; the others are empty.

    Returns:
        ``(B, C, H, W)``, ``(C, 1, 3, 3)``, ``(C,)``.
    """
    # Of an input that is not there, only the shape is asked: that of the output is the same.
    source = gradient if x is None else x
    to_x, to_weight, to_bias = convolution.convolution_backward(gradient, source, weight, needs, padding=1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return (
        to_x.contiguous(memory_format=layout) if needs[0] else gradient.new_empty(0),
        to_weight.to(weight.dtype) if needs[1] else weight.new_empty(0),
        to_bias.to(weight.dtype) if needs[2] else weight.new_empty(0),
    )
