"""Images that nothing known is wrong with, and that are not clean either: from them it learns to be unsure.

Training on some such images makes a network less sure of others too (Hendrycks et al., "Deep anomaly detection with
outlier exposure", ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.degradation import uniform_integer
from adair_core.plugins import plugins
from adair_core.specs import Choice

Change = Callable[[Tensor, torch.Generator], Tensor]
"""``(3, H, W)`` in [0, 1] -> the same."""


def squares(image: Tensor, side: int) -> Tensor:
    """Give each square of some pixels ``(C, H, W)`` one colour."""
    small = functional.avg_pool2d(image[None], side, ceil_mode=True)
    return functional.interpolate(small, scale_factor=side, mode="nearest")[0, :, : image.shape[1], : image.shape[2]]


def of_levels(image: Tensor, levels: int) -> Tensor:
    """Round to so many levels of brightness."""
    return (image * (levels - 1)).round() / (levels - 1)


def _missing_pixels(image: Tensor, draws: torch.Generator) -> Tensor:
    return plugins().degradation(Choice(name="mask"))(image[None], draws)[0]


NEITHER: Mapping[str, Change] = {
    "missing pixels": _missing_pixels,
    "squares": lambda image, draws: squares(image, uniform_integer(3, 12, draws)),
    "few levels": lambda image, draws: of_levels(image, uniform_integer(3, 12, draws)),
    "negative": lambda image, _: 1 - image,
}
