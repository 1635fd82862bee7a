"""Training losses: means over all elements, so that batches of any shape are comparable."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def l1(restored: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error, ``mean(|x - y|)``.

    Args:
        restored: ``(B, C, H, W)``.
        target: same shape, in [0, 1].
    """
    return (restored - target).abs().mean()


def charbonnier(restored: Tensor, target: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """Smoothed absolute error, ``mean(sqrt((x - y)^2 + epsilon^2))``.

    Args:
        restored: ``(B, C, H, W)``.
        target: same shape, in [0, 1].
        epsilon: width of the smooth bottom.

    Source: Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed imaging"; as a
        restoration loss in Lai et al., arXiv 1710.01992, equation 5.
    """
    return torch.sqrt((restored - target).square() + epsilon**2).mean()


LOSSES: Mapping[str, Loss] = {"l1": l1, "charbonnier": charbonnier}
