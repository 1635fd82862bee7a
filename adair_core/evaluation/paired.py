"""Differences between two restorations of the same images, and whether chance explains them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pydantic import ConfigDict

from adair_core.evaluation.scenes import by_scene
from adair_core.evaluation.statistics import Statistic, bootstrap, finite_mean
from adair_core.specs import Config

SIGNIFICANCE = 0.05
"""The probability of a false alarm that reports warn about."""


class Difference(Config):
    """Candidate - reference, image by image.

    Attributes:
        statistic: mean of the differences with its 95 % bootstrap interval; images, or scenes, are resampled in pairs.
        wins: images, or scenes, on which the candidate is better, whichever direction the metric has.
        losses: on which it is worse.
        ties: on which both have the same value.
        p: of the two-sided Wilcoxon signed-rank test; ``nan`` without images.
        p_holm: the same after Holm's correction for the candidates that were compared with one reference.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True)

    statistic: Statistic
    wins: int
    losses: int
    ties: int
    p: float
    p_holm: float

    @property
    def smallest_p(self) -> float:
        """What the test would give if all images agreed, uncorrected: with few images that is not small."""
        return least_p(self.wins + self.losses)


def paired(reference: float, candidate: float) -> float:
    """Subtract; equal values differ by 0 even if they are infinite (both restored exactly)."""
    return 0.0 if candidate == reference else candidate - reference


def difference(
    images: Sequence[Sequence[float]], *, higher_is_better: bool, scenes: Sequence[str] | None = None
) -> Difference:
    """Summarise differences between two restorations of the same images.

    What is infinite (one of the two restored the image exactly) counts as a win or a loss, with the largest rank, but
    is not in the mean; what is undefined counts nowhere.

    Args:
        images: candidate - reference, of each image under each condition; an image counts once.
        higher_is_better: the metric's direction.
        scenes: of each image, where several images are of one; a scene counts once, then.

    >>> difference([[0.1], [0.3], [-0.2]], higher_is_better=True).wins
    2
    """
    verdicts = [_verdict(list(itertools.chain(*scene))) for scene in by_scene(images, scenes)]
    better = [value if higher_is_better else -value for value in verdicts if not math.isnan(value)]
    p = wilcoxon(better)
    return Difference(
        statistic=bootstrap([finite_mean(values) for values in images], scenes=scenes),
        wins=sum(value > 0 for value in better),
        losses=sum(value < 0 for value in better),
        ties=sum(value == 0 for value in better),
        p=p,
        p_holm=p,
    )


def _verdict(values: Sequence[float]) -> float:
    """What wins or loses an image or a scene: to be exact under more conditions, else the mean over them."""
    exactly = sum(math.copysign(1, value) for value in values if math.isinf(value))
    return math.copysign(math.inf, exactly) if exactly else finite_mean(values)


def wilcoxon(differences: Sequence[float]) -> float:
    """Test whether differences are symmetric about zero: Wilcoxon's signed-rank test, two-sided.

    Zeros are discarded, as Wilcoxon did. scipy computes the exact distribution for up to 50 images without ties, and
    for up to 13 with ties; otherwise a normal approximation.

    Args:
        differences: one for each image; infinite ones get the largest rank, ``nan`` is not allowed.

    Returns:
        p; 1 if all differences are zero, ``nan`` if there are none.

    Source: Wilcoxon, "Individual comparisons by ranking methods", 1945.
    """
    from scipy.stats import wilcoxon as signed_rank  # slow to import

    if not differences:
        return math.nan
    if not any(differences):
        return 1.0
    # Only ranks count: a finite number above all others stands for infinity.
    largest = 2 * max((abs(value) for value in differences if math.isfinite(value)), default=0.0) + 1
    finite = [value if math.isfinite(value) else math.copysign(largest, value) for value in differences]
    return float(signed_rank([value for value in finite if value != 0]).pvalue)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Correct p for several comparisons, so that the chance of any false alarm stays below the level.

    Sorted ascending, the k-th of m is multiplied by m - k + 1; none becomes smaller than the one before it, or larger
    than 1. ``nan`` stays and does not count.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((p, index) for index, p in enumerate(probabilities) if not math.isnan(p))
    corrected = list(probabilities)
    smallest = 0.0
    for place, (p, index) in enumerate(order):
        smallest = max(smallest, min(1.0, p * (len(order) - place)))
        corrected[index] = smallest
    return corrected


def least_p(images: int) -> float:
    """The smallest p that the test can give with so many images that differ: 2 of the 2**n signs are extreme.

    >>> least_p(5), least_p(6)
    (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - images))


def least_images(comparisons: int) -> int:
    """How many images a test needs to be able to show anything at 5 %, after Holm's correction.

    >>> least_images(1), least_images(4)
    (6, 8)
    """
    count = 1
    while least_p(count) * comparisons > SIGNIFICANCE:
        count += 1
    return count
