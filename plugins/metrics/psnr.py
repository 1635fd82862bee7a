"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

from torch import Tensor

from adair_core import MetricSpec


def psnr(restored: Tensor, target: Tensor) -> float:
    """Compare two images by their mean squared error.

    ``PSNR = -10 log10 mean((restored - target)^2)``, over all pixels and channels, for a peak of 1.

    Args:
        restored: ``(1, C, H, W)``, float in [0, 1].
        target: the same shape.

    Returns:
        Decibels; ``inf`` for equal images, ``nan`` for images without pixels.

    >>> import torch
    >>> round(psnr(torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)), 4)
    20.0
    """
    error = (restored.double() - target.double()).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error) if error == error else math.nan


SPEC = MetricSpec(
    name="psnr",
    summary="peak signal-to-noise ratio",
    build=lambda: psnr,
    higher_is_better=True,
    unit="dB",
)
