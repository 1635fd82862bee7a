"""The built-in metrics: how close a restored image is to its target.

Each takes ``(1, C, H, W)`` float tensors in [0, 1]. On an image where a metric has no meaning, such as one that is
smaller than its window, it is ``nan``; reports count such images and leave them out of the mean.
"""

from __future__ import annotations

from collections.abc import Iterable

from adair_core import MetricSpec, hookimpl
from adair_plugins.metrics import lpips, psnr, ssim


@hookimpl
def adair_metrics() -> Iterable[MetricSpec]:
    """Offer the built-in metrics."""
    return [psnr.SPEC, ssim.SPEC, lpips.SPEC]
