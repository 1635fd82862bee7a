"""Restormer's attention across channels, in plain PyTorch.

For each head, with q, k, v of shape ``(c, HW)`` (c channels a head) and rows normalised to length 1:

    y = softmax(t q' k'^T) v,    q' = q / max(|q|, 1e-12),    k' = k / max(|k|, 1e-12)

Source: Zamir et al., "Restormer", arXiv 2111.09881, eq. 2 (multi-Dconv head transposed attention); the L2 norms are
those of El-Nouby et al., "XCiT", arXiv 2106.09681. Only the c x c matrices are normalised, never q and k themselves:
q' k'^T = diag(1/|q|) q k^T diag(1/|k|).

Gradients, with S = q' k'^T, A = softmax(t S), dA = dL/dy v^T, dP = A (dA - rowsum(dA A)), dS = t dP and
M = diag(1/|q|) dS diag(1/|k|):

    dL/dv = A^T dL/dy,    dL/dt = sum(dP S)
    dL/dq = M k - diag(rowsum(dS S) / |q|^2) q,    dL/dk = M^T q - diag(colsum(dS S) / |k|^2) k

where the second terms vanish for rows shorter than 1e-12, whose length is a constant. Such rows have gradients that are
more than float16 holds; there they are 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.ops.layout import accumulation_dtype, memory_format

SHORTEST = 1e-12


def channel_attention(qkv: Tensor, temperature: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Attend across channels.

    Args:
        qkv: ``(B, 3C, H, W)``: queries, keys, values; each head has C / heads consecutive channels.
        temperature: ``(heads, 1, 1)``, factor of the cosines.
        heads: number of heads.

    Returns:
        The result, ``(B, C, H, W)``; the cosines S, ``(B, heads, c, c)``; and the lengths of the rows of q and k,
        at least 1e-12, ``(2, B, heads, c)``; the latter two float32 or float64.
    """
    layout, kind = memory_format(qkv), accumulation_dtype(qkv)
    queries, keys, values = qkv.chunk(3, dim=1)
    q, k = (_rows(_widen(part, layout), heads) for part in (queries, keys))
    lengths = torch.stack([_length(q, layout), _length(k, layout)]).clamp_min(SHORTEST)
    cosines = _gram(q, k, layout) / (lengths[0, ..., None] * lengths[1, ..., None, :])
    attention = torch.softmax(cosines * temperature.to(kind), dim=-1)
    result = _mix(attention.to(qkv.dtype), _rows(values, heads), layout).reshape(values.shape)
    return result.contiguous(memory_format=layout), cosines, lengths


def channel_attention_backward(
    gradient: Tensor, qkv: Tensor, temperature: Tensor, cosines: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to qkv and temperature.

    Args:
        gradient: of the result, ``(B, C, H, W)``.
        qkv: as in `channel_attention`.
        temperature: as in `channel_attention`.
        cosines: from `channel_attention`.
        lengths: from `channel_attention`.

    Returns:
        ``(B, 3C, H, W)`` and ``(heads, 1, 1)``.
    """
    layout, kind = memory_format(qkv), cosines.dtype
    heads = temperature.shape[0]
    queries, keys, values = qkv.chunk(3, dim=1)
    q, k = _rows(queries, heads), _rows(keys, heads)
    gradient = gradient.contiguous(memory_format=layout)
    wide_gradient, wide_v = (_rows(_widen(part, layout), heads) for part in (gradient, values))
    wide_temperature = temperature.to(kind)
    attention = torch.softmax(cosines * wide_temperature, dim=-1)
    to_attention = _gram(wide_gradient, wide_v, layout)
    to_scaled = attention * (to_attention - (to_attention * attention).sum(-1, keepdim=True))
    to_cosines = to_scaled * wide_temperature
    inverse, constant = lengths.reciprocal(), lengths <= SHORTEST
    if qkv.dtype == torch.float16:
        inverse = inverse.masked_fill(constant, 0)
    mixing = to_cosines * inverse[0, ..., None] * inverse[1, ..., None, :]
    along = to_cosines * cosines
    radial = (torch.stack([along.sum(-1), along.sum(-2)]) * inverse.square()).masked_fill(constant, 0)
    powers = torch.ldexp(torch.ones_like(inverse), torch.frexp(inverse).exponent)
    to_qkv = torch.empty_like(qkv, memory_format=layout)
    to_q, to_k, to_v = to_qkv.chunk(3, dim=1)
    to_q.copy_(_combined(mixing, k, radial[0], q, powers[0], layout).reshape(to_q.shape))
    to_k.copy_(_combined(mixing.mT, q, radial[1], k, powers[1], layout).reshape(to_k.shape))
    to_v.copy_(_mix(attention.mT.to(qkv.dtype), _rows(gradient, heads), layout).reshape(to_v.shape))
    to_temperature = (to_scaled * cosines).sum((0, 2, 3))[:, None, None]
    return to_qkv, to_temperature.to(temperature.dtype)


def _widen(part: Tensor, layout: torch.memory_format) -> Tensor:
    """A slice of channels in the dtype of sums. A plain ``to`` would leave a slice contiguous, whatever it was."""
    kind = accumulation_dtype(part)
    return part if part.dtype == kind else part.to(kind, memory_format=layout)


def _rows(part: Tensor, heads: int) -> Tensor:
    """Each channel a row, ``(B, C, H, W)`` -> ``(B, heads, c, HW)``."""
    batch, channels, height, width = part.shape
    return part.reshape(batch, heads, channels // heads, height * width)


# Channels last, a head's channels lie between those of the others: one product for each head copies nothing, and
# mixing the channels of the transpose gives a result that is channels last again.


def _length(x: Tensor, layout: torch.memory_format) -> Tensor:
    """Length of the rows, ``(B, heads, c, HW)`` -> ``(B, heads, c)``."""
    return x.square().sum(-1).sqrt() if layout == torch.channels_last else x.norm(dim=-1)


def _gram(a: Tensor, b: Tensor, layout: torch.memory_format) -> Tensor:
    """The product a b^T for each head, ``(B, heads, c, HW)`` twice -> ``(B, heads, c, c)``."""
    if layout != torch.channels_last:
        return a @ b.mT
    return torch.stack([a[:, head] @ b[:, head].mT for head in range(a.shape[1])], dim=1)


def _combined(
    mixing: Tensor, other: Tensor, radial: Tensor, own: Tensor, powers: Tensor, layout: torch.memory_format
) -> Tensor:
    """M other - diag(radial) own, ``(B, heads, c, HW)``.

    M shrinks with the number of pixels, to where float16 has few bits. So the rows of both factors are divided by
    `powers` of two near 1 / |own|, and those of the result multiplied by them, which rounds nothing.
    """
    mixed = _mix((mixing / powers[..., None]).to(own.dtype), other, layout)
    mixed = torch.addcmul(mixed, (radial / powers).to(own.dtype)[..., None], own, value=-1)
    return mixed.mul_(powers.to(own.dtype)[..., None])


def _mix(matrices: Tensor, x: Tensor, layout: torch.memory_format) -> Tensor:
    """The product m x for each head, ``(B, heads, c, c)`` and ``(B, heads, c, HW)`` -> ``(B, heads, c, HW)``."""
    if layout != torch.channels_last:
        return matrices @ x
    mixed = [x[:, head].mT @ matrices[:, head].mT for head in range(x.shape[1])]
    return (mixed[0].unsqueeze(2) if len(mixed) == 1 else torch.stack(mixed, dim=2)).permute(0, 2, 3, 1)
