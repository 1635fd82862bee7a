"""A weight plus a low-rank update, in plain PyTorch.

    W' = W + s B A

with A the ``(r, ...)`` and B the ``(O, r)`` factor, seen as matrices. Source: Hu et al., "LoRA", arXiv 2106.09685,
eq. 3. Gradients, with G = dL/dW' as an ``O x ...`` matrix: dL/dW = G, dL/dA = s B^T G, dL/dB = s G A^T.
"""

from __future__ import annotations

from torch import Tensor

from adair_core.ops.layout import accumulation_dtype


def low_rank_weight(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Add the update in float32 (float64 for float64) and round once.

    Args:
        weight: ``(O, ...)``.
        a: ``(r, ...)``.
        b: ``(O, r)`` or ``(O, r, 1, 1)``.
        scale: of the update.

    Returns:
        Shape and dtype of `weight`, contiguous.
    """
    kind = accumulation_dtype(weight)
    update = b.to(kind).flatten(1) @ a.to(kind).flatten(1)
    return (weight.to(kind) + scale * update.view(weight.shape)).to(weight.dtype).contiguous()


def low_rank_weight_backward(gradient: Tensor, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Gradients with respect to a and b.

    Args:
        gradient: of the result.
        a: as in `low_rank_weight`.
        b: as in `low_rank_weight`.
        scale: as in `low_rank_weight`.
    """
    kind = accumulation_dtype(gradient)
    matrix = scale * gradient.to(kind).flatten(1)
    to_a = b.to(kind).flatten(1).mT @ matrix
    to_b = matrix @ a.to(kind).flatten(1).mT
    return to_a.view(a.shape).to(a.dtype), to_b.view(b.shape).to(b.dtype)
