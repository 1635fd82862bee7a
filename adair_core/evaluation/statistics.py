"""Means over images, and how far to trust them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import ConfigDict

from adair_core.evaluation.scenes import by_scene
from adair_core.specs import Config

RESAMPLES = 2000
"""With 2,000 the ends of a 95 % interval have a standard error of 1.5 % of its width (0.06 of the mean's own)."""

CONFIDENCE = 0.95


class Statistic(Config):
    """A mean over images.

    Attributes:
        mean: over the finite values; ``inf`` if all are infinite, ``nan`` if there are none.
        low: lower end of the 95 % confidence interval of the mean; ``nan`` for less than two finite values, or
            scenes that have some.
        high: its upper end.
        count: number of finite values.
        infinite: number of infinite values, such as the PSNR of equal images; not in the mean.
        undefined: number of images on which the metric has no meaning; not in the mean.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True)

    mean: float
    low: float
    high: float
    count: int
    infinite: int = 0
    undefined: int = 0


def finite_mean(values: Sequence[float]) -> float:
    """Average the finite values; without any, ``inf`` or ``nan``."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else sum(values) / len(values)


def bootstrap(values: Sequence[float], *, scenes: Sequence[str] | None = None, seed: int = 0) -> Statistic:
    """Average over images, with a percentile bootstrap interval.

    The interval answers: how would the mean move, had other images of this kind been picked? Images are resampled
    with replacement, or scenes with all of their images; the interval holds the middle 95 % of the resampled means.

    Args:
        values: one for each image.
        scenes: of each image, where several images are of one.
        seed: of the resampling.

    Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; for scenes Davison, Hinkley,
    "Bootstrap Methods and their Application", 1997, section 3.8 (resampling groups).

    >>> bootstrap([1.0, 2.0, math.inf]).mean
    1.5
    """
    finite = torch.tensor([value for value in values if math.isfinite(value)], dtype=torch.float64)
    infinite = [value for value in values if math.isinf(value)]
    undefined = len(values) - len(finite) - len(infinite)
    count = len(finite)
    mean = low = high = math.nan
    if count:
        mean = finite.mean().item()
    elif len(set(infinite)) == 1:
        mean = infinite[0]
    groups = [[value for value in group if math.isfinite(value)] for group in by_scene(values, scenes)]
    sums, counts = (torch.tensor([of(group) for group in groups if group], dtype=torch.float64) for of in (sum, len))
    if len(sums) > 1:
        generator = torch.Generator().manual_seed(seed)
        picks = torch.randint(len(sums), (RESAMPLES, len(sums)), generator=generator)
        tail = (1 - CONFIDENCE) / 2
        means = sums[picks].sum(1) / counts[picks].sum(1)
        low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Statistic(mean=mean, low=low, high=high, count=count, infinite=len(infinite), undefined=undefined)
