"""Steps of the branches of a transformer block, on pixels: images ``(B, H, W, C)``, contiguous.

Kernels of our own (csrc) do what memory limits, the library's matrix products the 1x1 convolutions of many channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.ops.native import empty_gradients, parameter, stacked
from adair_core.ops.per_image import PerImage, shares, varies
from adair_core.ops.products import multiply, multiply_backward

kernels: Any = torch.ops.adair_native
"""Where the kernels are; the tests have others, that run on a CPU."""


def normalise(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The layer norm over channels, and the mean and the reciprocal deviation of each pixel."""
    if varies((weight, bias)):  # what few adapters change
        each = [
            normalise(share, own, own_bias, eps)
            for share, (own, own_bias) in shares(x, (weight, bias))
            if own is not None
        ]
        result, mean, rstd = map(torch.cat, zip(*each, strict=True))
        return result, mean, rstd
    result = torch.empty_like(x)
    mean = x.new_empty(x.shape[:3], dtype=torch.float32)
    rstd = torch.empty_like(mean)
    kernels.layer_norm2d(x, parameter(weight), parameter(bias), eps, True, result, mean, rstd)
    return result, mean, rstd


def normalise_backward(
    gradient: Tensor,
    x: Tensor,
    statistics: tuple[Tensor, Tensor],
    parameters: tuple[Tensor, Tensor | None],
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients with respect to x, always, and to weight and bias, where they are wanted."""
    weight, bias = parameters
    to_x = torch.empty_like(x)
    to_weight, to_bias = empty_gradients(parameters, needs)
    kernels.layer_norm2d_backward(
        gradient, x, parameter(weight), *statistics, bias is None, True, to_x, to_weight, to_bias
    )
    return to_x, to_weight, to_bias


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution, its parameters rounded to the dtype of x; for parameters per image one batched product."""
    if varies((weight, bias)):
        return _project_each(x, weight, bias)
    return multiply(x, weight.flatten(1).to(x.dtype), None if bias is None else bias.to(x.dtype))


def _project_each(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = x.flatten(1, 2)
    matrices = stacked(weight) if isinstance(weight, PerImage) else weight.expand(len(x), *weight.shape)
    matrices = matrices.to(x.dtype).flatten(2).mT
    if bias is None:
        result = torch.bmm(rows, matrices)
    else:
        biases = stacked(bias) if isinstance(bias, PerImage) else bias.expand(len(x), -1)
        result = torch.baddbmm(biases.to(x.dtype).unsqueeze(1), rows, matrices)
    return result.view(*x.shape[:3], -1)


def project_backward(
    gradient: Tensor, x: Tensor | None, weight: Tensor, needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a 1x1 convolution with respect to x, weight and bias; x is read for that of the weight alone."""
    rows = gradient.flatten(0, 2)
    to_x = multiply_backward(gradient, weight.flatten(1).to(gradient.dtype)) if needs[0] else None
    to_weight = (rows.mT @ x.flatten(0, 2)).view(weight.shape) if needs[1] and x is not None else None
    return to_x, to_weight, rows.sum(0, dtype=torch.float32) if needs[2] else None


def convolve_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, *, flipped: bool = False) -> Tensor:
    """A depthwise 3x3 convolution with zero padding; with flipped taps it gives the gradient of its input."""
    result = torch.empty_like(x)
    kernels.depthwise(x, parameter(weight), parameter(bias), flipped, True, result)
    return result
