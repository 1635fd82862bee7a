"""Structural similarity."""

from __future__ import annotations

import math

from torch import Tensor

from adair_core import MetricSpec

WINDOW = 11
"""Side of the Gaussian window, in pixels."""


def ssim(restored: Tensor, target: Tensor) -> float:
    """Compare two images by local luminance, contrast and structure.

    ``SSIM = (2 mu_x mu_y + C1)(2 s_xy + C2) / ((mu_x^2 + mu_y^2 + C1)(s_x^2 + s_y^2 + C2))`` under a Gaussian window
    of 11 x 11 with a standard deviation of 1.5, ``C1 = 0.01^2``, ``C2 = 0.03^2``, averaged over the windows that lie
    inside the image, and over the channels.

    Args:
        restored: ``(1, C, H, W)``, float in [0, 1].
        target: the same shape.

    Returns:
        At most 1; ``nan`` for an image with a side of less than 11 pixels, which holds no window.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004, equation 13 and the authors' MATLAB code.

    >>> import torch
    >>> ssim(torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.5))
    1.0
    """
    # scikit-image works in float64 with separable filters: a twentieth of torchmetrics' time on a CPU. (The variances
    # are differences of squares: in float32 they lose digits in flat regions.)
    from skimage.metrics import structural_similarity

    if min(target.shape[-2:]) < WINDOW:
        return math.nan
    return float(
        structural_similarity(
            target[0].double().cpu().numpy(),
            restored[0].double().cpu().numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


SPEC = MetricSpec(name="ssim", summary="structural similarity", build=lambda: ssim, higher_is_better=True)
