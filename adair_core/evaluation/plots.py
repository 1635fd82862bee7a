"""The plots of an HTML page: inline SVG whose colours follow the page, also in the dark.

They are drawn here and not by matplotlib, whose SVGs are a hundred times as large, have fixed colours and no text that
a screen reader or a search finds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from adair_core.evaluation.cells import decimals_of_difference, interval_cell, number, plural
from adair_core.evaluation.comparison import ALL, ComparedPair, Comparison

WIDTH = 460
LABELS = 150
"""Left part of a plot of intervals, for the labels."""
ROW = 22
COLORS = 8
"""Classes ``c0`` to ``c7`` of the style sheet."""


def interval_plot(comparison: Comparison, metric: str) -> str:
    """Draw each candidate's mean difference from the reference with its 95 % interval, condition by condition.

    Returns:
        An ``<svg>`` element; empty if no difference is finite.
    """
    pairs = [pair for pair in comparison.differences if pair.metric == metric]
    pairs = [pair for pair in pairs if math.isfinite(pair.found.statistic.mean)]
    if not pairs:
        return ""
    scale = _Scale([0.0, *(end for pair in pairs for end in _ends(pair))], LABELS, WIDTH - 14)
    parts, y, condition = [], 6, ""
    for pair in pairs:
        if (pair.condition or ALL) != condition:
            condition = pair.condition or ALL
            y += ROW
            parts.append(f'<text class="head" x="0" y="{y - 7}">{_short(condition, 60)}</text>')
        y += ROW
        parts.append(_interval(comparison, pair, scale, y - ROW / 2))
    return _svg(f"{metric}: differences from {comparison.reference}", y + 34, [*scale.axis(y + 6), *parts])


def image_plot(comparison: Comparison, metric: str, condition: str) -> str:
    """Draw every image's difference from the reference, a dot for each candidate, in the order of the first's.

    Returns:
        An ``<svg>`` element; empty if no difference is finite.
    """
    series = {name: comparison.image_differences(metric, name, condition) for name in comparison.candidates[1:]}
    order = sorted(next(iter(series.values())).items(), key=lambda item: (math.isnan(item[1]), item[1]))
    values = [value for each in series.values() for value in each.values() if math.isfinite(value)]
    if not values:
        return ""
    height, bottom, left = 220, 196, 52
    scale = _Scale([0.0, *values], bottom, 10)
    step = (WIDTH - left - 10) / len(order)
    decimals = comparison.first.decimals(metric)
    dots = []
    for place, (image, _) in enumerate(order):
        x = left + step * (place + 0.5)
        for name, each in series.items():
            if math.isfinite(each[image]):
                title = escape(f"{image}, {name}: {number(each[image], decimals, signed=True)}")
                color = _color(comparison, name)
                dot = f'<circle class="{color}" cx="{x:.1f}" cy="{scale(each[image]):.1f}" r="4"><title>{title}</title>'
                dots.append(f"{dot}</circle>")
    lines = []
    for tick in scale.ticks():
        y = scale(tick)
        kind = "zero" if tick == 0 else "grid"
        lines.append(f'<line class="{kind}" x1="{left}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{scale.label(tick)}</text>')
    lines.append(f'<text class="tick" x="{left}" y="{height - 4}">{plural(len(order), "image")}, sorted</text>')
    legend = []
    for row, name in enumerate(series):
        y = height + ROW * (row + 0.5)
        legend.append(f'<circle class="{_color(comparison, name)}" cx="{left + 4}" cy="{y - 4:.0f}" r="4"/>')
        legend.append(f'<text x="{left + 16}" y="{y:.0f}">{_short(name, 60)}</text>')
    title = f"{metric}, {condition}: difference from {comparison.reference}, image by image"
    return _svg(title, height + ROW * len(series), lines + dots + legend)


class _Scale:
    """Values to positions: linear, with some room, over ticks of 1, 2 or 5 times a power of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        room = 0.05 * (high - low) or 1.0
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    @property
    def step(self) -> float:
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)

    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        return [place * self.step for place in range(first, last + 1)]

    def label(self, tick: float) -> str:
        decimals = max(0, -math.floor(math.log10(self.step)))
        return f"{tick:+.{decimals}f}" if tick else "0"

    def axis(self, bottom: float) -> list[str]:
        lines = []
        for tick in self.ticks():
            x = self(tick)
            kind = "zero" if tick == 0 else "grid"
            lines.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{bottom:.1f}"/>')
            text = f'<text class="tick" x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{self.label(tick)}'
            lines.append(f"{text}</text>")
        return lines


def _ends(pair: ComparedPair) -> list[float]:
    mean = pair.found.statistic
    return [end for end in (mean.low, mean.mean, mean.high) if math.isfinite(end)]


def _interval(comparison: Comparison, pair: ComparedPair, scale: _Scale, y: float) -> str:
    mean = pair.found.statistic
    decimals = decimals_of_difference(mean, comparison.first.decimals(pair.metric))
    title = f"{pair.candidate}: {number(mean.mean, decimals, signed=True)} {interval_cell(mean, decimals)}"
    ends = _ends(pair)
    x = scale(mean.mean)
    return (
        f'<g class="{_color(comparison, pair.candidate)}"><title>{escape(title)}</title>'
        f'<text x="10" y="{y + 4:.1f}">{_short(pair.candidate, 22)}</text>'
        f'<line x1="{scale(min(ends)):.1f}" x2="{scale(max(ends)):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke-width="3"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/></g>'
    )


def _color(comparison: Comparison, candidate: str) -> str:
    return f"c{(comparison.candidates.index(candidate) - 1) % COLORS}"


def _short(text: str, most: int) -> str:
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    label = escape(title, quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
