"""Convolutions as the references compute them: in the dtype of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int = 0, groups: int = 1) -> Tensor:
    """Convolve ``(B, C, H, W)`` with stride 1; weight and bias are rounded to the dtype of `x`."""
    bias = None if bias is None else bias.to(x.dtype)
    return functional.conv2d(x, weight.to(x.dtype), bias, padding=padding, groups=groups)


def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, needs: Sequence[bool], *, padding: int = 0
) -> tuple[Any, Any, Any]:
    """Gradients of `convolve` with respect to x, weight and bias; ``None`` where not needed.

    Args:
        gradient: of the result.
        x: as in `convolve`; only its shape matters where the weight's gradient is not needed.
        weight: as in `convolve`.
        needs: which of the three are wanted.
        padding: as in `convolve`.
    """
    groups = x.shape[1] // weight.shape[1]
    weight = weight.to(x.dtype)
    to_x, to_weight, to_bias = torch.ops.aten.convolution_backward(
        gradient, x, weight, [weight.shape[0]], [1, 1], [padding] * 2, [1, 1], False, [0, 0], groups, list(needs)
    )
    return to_x, None if to_weight is None else to_weight.contiguous(), to_bias
