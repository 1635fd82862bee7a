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

where the second terms vanish for rows shorter than 1e-12, whose length is a constant.
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
    q, k, v = _split(qkv, heads)
    kind = accumulation_dtype(qkv)
    wide_q, wide_k = q.to(kind), k.to(kind)
    lengths = torch.stack([wide_q.norm(dim=-1), wide_k.norm(dim=-1)]).clamp_min(SHORTEST)
    cosines = wide_q @ wide_k.mT / (lengths[0, ..., None] * lengths[1, ..., None, :])
    attention = torch.softmax(cosines * temperature.to(kind), dim=-1)
    result = (attention.to(qkv.dtype) @ v).reshape(qkv.shape[0], qkv.shape[1] // 3, *qkv.shape[2:])
    return result.contiguous(memory_format=memory_format(qkv)), cosines, lengths


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
    heads, kind = temperature.shape[0], cosines.dtype
    q, k, v = _split(qkv, heads)
    outer = gradient.reshape(v.shape)
    wide_temperature = temperature.to(kind)
    attention = torch.softmax(cosines * wide_temperature, dim=-1)
    to_attention = outer.to(kind) @ v.to(kind).mT
    to_scaled = attention * (to_attention - (to_attention * attention).sum(-1, keepdim=True))
    to_cosines = to_scaled * wide_temperature
    along = to_cosines * cosines
    radial = torch.stack([along.sum(-1), along.sum(-2)]) / lengths.square()
    to_q_length, to_k_length = radial.masked_fill(lengths <= SHORTEST, 0)[..., None]
    mixing = to_cosines / (lengths[0, ..., None] * lengths[1, ..., None, :])
    to_q = mixing.to(q.dtype) @ k - to_q_length.to(q.dtype) * q
    to_k = mixing.mT.to(q.dtype) @ q - to_k_length.to(q.dtype) * k
    to_v = attention.mT.to(q.dtype) @ outer
    to_qkv = torch.stack([to_q, to_k, to_v], dim=1).reshape(qkv.shape)
    to_temperature = (to_scaled * cosines).sum((0, 2, 3))[:, None, None]
    return to_qkv.contiguous(memory_format=memory_format(qkv)), to_temperature.to(temperature.dtype)


def _split(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, height, width = qkv.shape
    q, k, v = qkv.reshape(batch, 3, heads, channels // (3 * heads), height * width).unbind(1)
    return q, k, v
