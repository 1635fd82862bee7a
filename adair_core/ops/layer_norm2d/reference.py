"""Layer norm over the channels of images, in plain PyTorch.

With m and v the mean and the variance over the C channels of one pixel, and r = 1 / sqrt(v + eps):

- biased:     y = (x - m) r w + b       (Ba et al., "Layer Normalization", arXiv 1607.06450, eq. 4)
- bias-free:  y = x r w                 (Zamir et al., "Restormer", arXiv 2111.09881: no additive constant, so
  the network keeps its scaling behaviour at noise levels that it was not trained on; v is still about the mean)

Gradients, with g = dL/dy * w, x' = (x - m) r and <.> the mean over channels:

- biased:     dL/dx = r (g - <g> - x' <g x'>)
- bias-free:  dL/dx = r (g - x' r <g x>)
"""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.ops.layout import accumulation_dtype, memory_format


def layer_norm2d(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each pixel.

    Args:
        x: ``(B, C, H, W)``.
        weight: ``(C,)``.
        bias: ``(C,)``; ``None`` is the bias-free kind.
        eps: added to the variance.

    Returns:
        The result, ``(B, C, H, W)``, and the mean and 1 / sqrt(variance + eps), ``(B, 1, H, W)`` float32 or float64.
    """
    kind = accumulation_dtype(x)
    wide, scale = x.to(kind), weight.to(kind)[:, None, None]
    variance, mean = torch.var_mean(wide, dim=1, correction=0, keepdim=True)
    rstd = torch.rsqrt(variance + eps)
    result = wide * rstd * scale if bias is None else (wide - mean) * rstd * scale + bias.to(kind)[:, None, None]
    return result.to(x.dtype).contiguous(memory_format=memory_format(x)), mean.contiguous(), rstd.contiguous()


def layer_norm2d_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, bias_free: bool, affine: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to x, weight and bias.

    Args:
        gradient: of the result, ``(B, C, H, W)``.
        x: as in `layer_norm2d`.
        weight: as in `layer_norm2d`.
        mean: from `layer_norm2d`.
        rstd: from `layer_norm2d`.
        bias_free: whether there was no bias.
        affine: whether the gradients of weight and bias are wanted; without, they are empty.

    Returns:
        ``(B, C, H, W)``, ``(C,)``, and ``(C,)``, empty if `bias_free`.
    """
    kind = accumulation_dtype(x)
    wide, outer, scale = x.to(kind), gradient.to(kind), weight.to(kind)[:, None, None]
    inner = outer * scale
    normal = (wide - mean) * rstd
    if bias_free:
        to_x = rstd * (inner - normal * rstd * (inner * wide).mean(1, keepdim=True))
        scaled = wide * rstd
    else:
        to_x = rstd * (inner - inner.mean(1, keepdim=True) - normal * (inner * normal).mean(1, keepdim=True))
        scaled = normal
    to_x = to_x.to(x.dtype).contiguous(memory_format=memory_format(x))
    empty = weight.new_empty(0)
    to_weight = (outer * scaled).sum((0, 2, 3)).to(weight.dtype) if affine else empty
    to_bias = outer.sum((0, 2, 3)).to(weight.dtype) if affine and not bias_free else weight.new_empty(0)
    return to_x, to_weight, to_bias
