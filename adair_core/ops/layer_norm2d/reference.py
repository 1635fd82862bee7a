"""Layer norm over the channels of images, in plain PyTorch.

With m and v the mean and the variance over the C channels of one pixel, and r = 1 / sqrt(v + eps):

- biased:     y = (x - m) r w + b       (Ba et al., "Layer Normalization", arXiv 1607.06450, eq. 4)
- bias-free:  y = x r w                 (Zamir et al., "Restormer", arXiv 2111.09881: no additive constant, so
  the network keeps its scaling behaviour at noise levels that it was not trained on; v is still about the mean)

Gradients, with g = dL/dy and <.> the mean over channels:

- biased:     dL/dx = r (g w - <g w> - (x - m) r^2 <g w (x - m)>),    dL/dw = sum g (x - m) r,    dL/db = sum g
- bias-free:  dL/dx = r (g w - (x - m) r^2 <g w x>),                  dL/dw = sum g x r
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
    layout, kind = memory_format(x), accumulation_dtype(x)
    if layout == torch.channels_last and bias is not None:
        # PyTorch's own kernel, which wants the channels last, is two to three times as fast as the steps below.
        pixels, shape = x.permute(0, 2, 3, 1), x.shape[1:2]
        result, *statistics = torch.native_layer_norm(pixels, shape, weight.to(kind), bias.to(kind), eps)
        mean, rstd = (value.permute(0, 3, 1, 2).contiguous() for value in statistics)
        return result.permute(0, 3, 1, 2), mean, rstd
    wide, scale = x.to(kind), weight.to(kind)[:, None, None]
    # torch.var_mean over the channels of an image takes 6 to 9 times as long as these steps (on a CPU).
    mean = wide.mean(1, keepdim=True)
    centred = wide - mean
    rstd = torch.rsqrt(centred.square().mean(1, keepdim=True) + eps)
    result = wide * rstd * scale if bias is None else centred * rstd * scale + bias.to(kind)[:, None, None]
    return result.to(x.dtype).contiguous(memory_format=layout), mean.contiguous(), rstd.contiguous()


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
    layout, kind = memory_format(x), accumulation_dtype(x)
    # Widened for PyTorch's kernel too: it would add up the gradients of bfloat16 weights in bfloat16.
    wide, outer = x.to(kind), gradient.to(kind)
    if layout == torch.channels_last and not bias_free:
        pixels, outer = wide.permute(0, 2, 3, 1), outer.permute(0, 2, 3, 1)
        statistics = (value.permute(0, 2, 3, 1) for value in (mean, rstd))
        wide_weight = weight.to(kind)
        # Of the bias, only that there is one is asked.
        parameters, needs = (wide_weight, wide_weight), [True, affine, affine]
        to_x, to_weight, to_bias = torch.ops.aten.native_layer_norm_backward(
            outer.contiguous(), pixels, x.shape[1:2], *statistics, *parameters, needs
        )
        to_x = to_x.permute(0, 3, 1, 2)
    else:
        centred = wide - mean
        inner = outer * weight.to(kind)[:, None, None]
        numerator = wide if bias_free else centred
        along = (inner * numerator).mean(1, keepdim=True)
        to_x = inner if bias_free else inner - inner.mean(1, keepdim=True)
        to_x = torch.addcmul(to_x, centred, along * rstd.square(), value=-1).mul_(rstd)
        to_weight = (outer * numerator).mul_(rstd).sum((0, 2, 3)) if affine else None
        to_bias = outer.sum((0, 2, 3)) if affine else None
    return (
        to_x.to(x.dtype).contiguous(memory_format=layout),
        to_weight.to(weight.dtype) if affine else weight.new_empty(0),
        to_bias.to(weight.dtype) if affine and not bias_free else weight.new_empty(0),
    )
