"""Convolutions of a batch in which each image has its own low-rank update of the weight, in plain PyTorch.

    y_i = conv(x_i, W_k) + bias,    W_k = W + s_k B_k A_k,    k the adapter of image i

with A_k and B_k the factors of adapter k. Source: Hu et al., "LoRA", arXiv 2106.09685, eq. 3. The updates are merged
into one weight for each adapter in use: that costs O C r a merge, where the factors on the activations cost (O + C) r a
pixel and pass over the images three times more. Of a 1x1 convolution of few pixels for its channels, they are applied
to the activations.

Gradients of a 1x1 convolution, with g = dL/dy and sums over pixels: dL/dB_k = s g (A x)^T, dL/dA_k = s (B^T g) x^T;
the gradient of the whole weight, O C a pixel, is never made for them. Of others it is, as G_k; then dL/dB = s G A^T and
dL/dA = s B^T G.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.ops.bottleneck_batch.reference import require_index
from adair_core.ops.layout import accumulation_dtype, memory_format


def low_rank_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    index: Tensor,
    stride: int,
    padding: int,
    groups: int,
) -> Tensor:
    """Convolve.

    Args:
        x: ``(B, C, H, W)``.
        weight: ``(O, C / groups, kh, kw)``.
        bias: ``(O,)`` or ``None``.
        a: ``(K, r, C / groups, kh, kw)``.
        b: ``(K, O, r)``.
        scale: ``(K,)``.
        index: ``(B,)``, the adapter of each image, -1 for none.
        stride: of the convolution, like the next two.
        padding: see `stride`.
        groups: see `stride`.

    Returns:
        ``(B, O, H', W')``.
    """
    require_index(index, len(scale))
    layout = memory_format(x)
    bias = None if bias is None else bias.to(x.dtype)
    if len(x) == 0:
        return functional.conv2d(x, weight.to(x.dtype), bias, stride, padding, 1, groups)
    pointwise = _pointwise(weight, stride, padding, groups)
    # Measured on one core with AVX-512, four adapters of rank 8, bfloat16: 384 -> 1152 channels at 16 x 16 take 7.1 ms
    # merged and 4.9 on the activations, at 32 x 32 as much either way; 48 -> 144 at 64 x 64 take 1.3 and 1.7.
    if pointwise and x.shape[2] * x.shape[3] <= 2 * x.shape[1]:
        return _on_activations(x, weight, bias, a, b, scale, index)
    merged = _merge(weight, a, b, scale, index, x.dtype)
    if pointwise:
        return _multiply(x, torch.stack([merged[adapter].flatten(1) for adapter in index.tolist()]), bias)
    results = [
        functional.conv2d(x[place : place + 1], merged[adapter], bias, stride, padding, 1, groups)
        for place, adapter in enumerate(index.tolist())
    ]
    return torch.cat(results).contiguous(memory_format=layout)


def low_rank_convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    index: Tensor,
    stride: int,
    padding: int,
    groups: int,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to x, weight, bias, a, b and scale.

    Args:
        gradient: of the result.
        x: as in `low_rank_convolution`, like the next eight.
        weight: see `low_rank_convolution`.
        a: see `low_rank_convolution`.
        b: see `low_rank_convolution`.
        scale: see `low_rank_convolution`.
        index: see `low_rank_convolution`.
        stride: see `low_rank_convolution`.
        padding: see `low_rank_convolution`.
        groups: see `low_rank_convolution`.
        needs: which of the six gradients are wanted; the others are empty.

    Returns:
        The six gradients; that of the bias in the dtype of the weight.
    """
    layout, kind = memory_format(x), accumulation_dtype(x)
    gradient = gradient.contiguous(memory_format=layout)
    merged = _merge(weight, a, b, scale, index, x.dtype)
    wide_scale, factors = scale.to(kind), needs[3] or needs[4] or needs[5]
    to_x = torch.zeros_like(x, memory_format=layout) if needs[0] else x.new_empty(0)
    to_weight = torch.zeros(weight.shape, dtype=kind, device=x.device)
    # Of s, 1 for the time being.
    to_a, to_b = torch.zeros(a.shape, dtype=kind, device=x.device), torch.zeros(b.shape, dtype=kind, device=x.device)
    pointwise = _pointwise(weight, stride, padding, groups)
    for place, adapter in enumerate(index.tolist()):
        image, outer = x[place : place + 1], gradient[place : place + 1]
        brackets = pointwise and not needs[1]
        whole = needs[1] or (factors and adapter >= 0 and not brackets)
        to_image, to_whole, _ = torch.ops.aten.convolution_backward(
            *(outer, image, merged[adapter], None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups),
            [needs[0], whole, False],
        )
        if needs[0]:
            to_x[place] = to_image[0]
        if needs[1]:
            to_weight += to_whole
        if adapter < 0 or not factors:
            continue
        first, second = a[adapter].to(x.dtype), b[adapter].to(x.dtype)
        if brackets:
            pixels, outer_pixels = image[0].flatten(1), outer[0].flatten(1)
            to_b[adapter] += outer_pixels @ (first.flatten(1) @ pixels).mT
            to_a[adapter] += ((second.mT @ outer_pixels) @ pixels.mT).view(first.shape)
        else:
            matrix = to_whole.to(kind).flatten(1)
            to_b[adapter] += matrix @ a[adapter].to(kind).flatten(1).mT
            to_a[adapter] += (b[adapter].to(kind).mT @ matrix).view(first.shape)
    to_scale = (to_b * b.to(kind)).sum((1, 2))
    return (
        to_x,
        to_weight.to(weight.dtype) if needs[1] else x.new_empty(0),
        gradient.to(kind).sum((0, 2, 3)).to(weight.dtype) if needs[2] else x.new_empty(0),
        (to_a * wide_scale[:, None, None, None, None]).to(a.dtype) if needs[3] else x.new_empty(0),
        (to_b * wide_scale[:, None, None]).to(b.dtype) if needs[4] else x.new_empty(0),
        to_scale.to(scale.dtype) if needs[5] else x.new_empty(0),
    )


def _pointwise(weight: Tensor, stride: int, padding: int, groups: int) -> bool:
    return weight.shape[2:] == (1, 1) and (stride, padding, groups) == (1, 0, 1)


def _merge(weight: Tensor, a: Tensor, b: Tensor, scale: Tensor, index: Tensor, dtype: torch.dtype) -> dict[int, Tensor]:
    """The weight of each adapter in use, added up in float32 (float64 for float64) and rounded once."""
    kind = torch.promote_types(torch.float32, dtype)
    merged = {}
    for adapter in sorted(set(index.tolist())):
        whole = weight.to(kind)
        if adapter >= 0:
            update = torch.mm(b[adapter].to(kind), a[adapter].to(kind).flatten(1))
            whole = whole + scale[adapter].to(kind) * update.view(weight.shape)
        merged[adapter] = whole.to(dtype)
    return merged


def _on_activations(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: Tensor, index: Tensor
) -> Tensor:
    """A 1x1 convolution, and the two factors on its input."""
    batch, _, height, width = x.shape
    base = functional.conv2d(x, weight.to(x.dtype), bias).contiguous(memory_format=memory_format(x))
    scaled = b.to(accumulation_dtype(x)) * scale.to(accumulation_dtype(x))[:, None, None]
    # Zeros at the end, for the index -1.
    first, second = (torch.cat([value, value.new_zeros(1, *value.shape[1:])]) for value in (a.flatten(2), scaled))
    reduced = torch.bmm(first[index].to(x.dtype), x.flatten(2))
    update = torch.bmm(second[index].to(x.dtype), reduced).view(batch, -1, height, width)
    return (base + update).contiguous(memory_format=memory_format(x))


def _multiply(x: Tensor, rows: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution with another matrix ``(O, C)`` for each image, in the layout of `x`."""
    batch, channels, height, width = x.shape
    if memory_format(x) == torch.channels_last:
        pixels = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        found = torch.bmm(pixels, rows.mT) if bias is None else torch.baddbmm(bias, pixels, rows.mT)
        return found.view(batch, height, width, -1).permute(0, 3, 1, 2)
    pixels = x.reshape(batch, channels, height * width)
    found = torch.bmm(rows, pixels) if bias is None else torch.baddbmm(bias[:, None], rows, pixels)
    return found.view(batch, -1, height, width)
