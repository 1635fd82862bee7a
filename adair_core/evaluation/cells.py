"""Numbers as all reports write them."""

from __future__ import annotations

import math

from adair_core.evaluation.statistics import Statistic

DASH = "\N{EN DASH}"


def decimals_for(level: float) -> int:
    """How many decimals a metric's values deserve: 4 for SSIM and its like, 2 for decibels.

    Args:
        level: a typical value, such as a mean.
    """
    return 4 if abs(level) < 2 else 2


def decimals_of_difference(statistic: Statistic, decimals: int) -> int:
    """How many decimals show on which side of zero an interval ends: two digits of its width.

    Args:
        statistic: of the differences.
        decimals: that the metric has; no less.
    """
    width = statistic.high - statistic.low
    if not math.isfinite(width) or width == 0:
        return decimals
    return min(8, max(decimals, 1 - math.floor(math.log10(width))))


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """Write a number with a fixed count of decimals.

    A signed number keeps its sign even if it rounds to zero: it says on which side an interval ends.

    >>> number(0.5, 2, signed=True), number(-0.001, 2, signed=True), number(0.0, 2, signed=True)
    ('+0.50', '-0.00', '0.00')
    >>> number(-0.001, 2), number(float("inf"), 2), number(float("nan"), 2)
    ('0.00', 'inf', '–')
    """
    if math.isnan(value):
        return DASH
    if value == 0 or (not signed and abs(value) < 0.5 * 10**-decimals):
        return f"{0:.{decimals}f}"
    return f"{value:{'+' if signed else ''}.{decimals}f}"


def mean_cell(statistic: Statistic, decimals: int, *, signed: bool = False) -> str:
    """Write a mean with half of its interval, if it has one."""
    mean = number(statistic.mean, decimals, signed=signed)
    if not math.isfinite(statistic.low):
        return mean
    return f"{mean} ± {(statistic.high - statistic.low) / 2:.{decimals}f}"


def interval_cell(statistic: Statistic, decimals: int) -> str:
    """Write the two ends of an interval."""
    if not math.isfinite(statistic.low):
        return DASH
    ends = (number(end, decimals, signed=True) for end in (statistic.low, statistic.high))
    return f"[{', '.join(ends)}]"


def probability(p: float) -> str:
    """Write p.

    >>> [probability(p) for p in (0.5, 0.03125, 0.00004, float("nan"))]
    ['0.50', '0.031', '< 0.0001', '–']
    """
    if math.isnan(p):
        return DASH
    if p < 0.0001:
        return "< 0.0001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.2g}" if p >= 0.001 else f"{p:.1g}"


def plural(count: int, word: str) -> str:
    """Count things.

    >>> plural(1, "image"), plural(3, "image")
    ('1 image', '3 images')
    """
    return f"{count} {word}{'' if count == 1 else 's'}"
