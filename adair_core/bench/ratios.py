"""Medians of rounds, and ratios of medians with intervals."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """How many times as long one competitor takes as another.

    Attributes:
        value: ratio of the medians.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ratio(above: Sequence[float], below: Sequence[float], *, paired: bool = True, seed: int = 0) -> Ratio:
    """Divide medians, with a percentile bootstrap interval over rounds.

    Args:
        above: seconds of the rounds, n >= 1 of them.
        below: seconds of the rounds.
        paired: the two were taken in the same rounds, which are then resampled together: what slows a round down slows
            both, and cancels.
        seed: of the resampling.

    Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    >>> ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]).value
    2.0
    """
    value = statistics.median(above) / statistics.median(below)
    draw = random.Random(seed)
    paired = paired and len(above) == len(below)
    values = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(range(len(above)), k=len(above))
        others = chosen if paired else draw.choices(range(len(below)), k=len(below))
        values.append(statistics.median([above[i] for i in chosen]) / statistics.median([below[i] for i in others]))
    values.sort()
    tail = round((1 - CONFIDENCE) / 2 * (RESAMPLES - 1))
    return Ratio(value, values[tail], values[-1 - tail])
