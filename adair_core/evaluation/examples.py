"""Images to look at beside the numbers: which ones, and which part of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from adair_core.data.pixels import quantized
from adair_core.evaluation.comparison import Comparison
from adair_core.evaluation.images import EvaluationImages
from adair_core.evaluation.report import ImageResult
from adair_core.evaluation.run import Candidate, Samples, restored_by

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """An image that is worth looking at.

    Attributes:
        condition: label.
        image: name.
        index: place among the images.
        why: it was chosen.
    """

    condition: str
    image: str
    index: int
    why: str


@dataclass(frozen=True)
class Panel:
    """One of the pictures that are shown side by side.

    Attributes:
        name: ``input``, a candidate's name, or ``target``.
        pixels: ``(H, W, 3)``, the whole image.
        values: metric -> its value; empty for the target.
    """

    name: str
    pixels: Pixels
    values: Mapping[str, float]


@dataclass(frozen=True)
class Example:
    """An image as input, as each candidate restored it, and as target.

    Attributes:
        choice: which image, and why.
        panels: input, candidates, target; of one size.
        centre: row and column around which the candidates' errors differ most.
    """

    choice: Choice
    panels: tuple[Panel, ...]
    centre: tuple[int, int]


def choices(comparison: Comparison) -> list[Choice]:
    """Choose the images on which the candidates are most ahead of the reference, least, and in between.

    The order is that of the first metric's difference from the reference, averaged over the candidates.

    Returns:
        Up to three for each condition; what the metric does not order (``inf``, ``nan``) is left out.
    """
    metric, info = next(iter(comparison.metrics.items()))
    names = [image.name for image in comparison.first.images]
    found = []
    for condition in comparison.first.conditions:
        gains = [comparison.image_differences(metric, name, condition) for name in comparison.candidates[1:]]
        mean = {image: sum(each[image] for each in gains) / len(gains) for image in gains[0]}
        sign = 1 if info.higher_is_better else -1
        order = sorted((image for image in mean if math.isfinite(mean[image])), key=lambda image: sign * mean[image])
        found += [
            Choice(condition, order[place], names.index(order[place]), why)
            for place, why in _places(len(order), comparison.reference)
        ]
    return found


def _places(count: int, reference: str) -> list[tuple[int, str]]:
    if count == 0:
        return []
    if count == 1:
        return [(0, "the only image")]
    ends = [(count - 1, f"furthest ahead of {reference}"), (0, f"least ahead of {reference}")]
    return ends if count == 2 else [ends[0], (count // 2, "the median image"), ends[1]]


def chosen_examples(
    comparison: Comparison, restorations: Mapping[str, Candidate], images: EvaluationImages
) -> list[Example]:
    """Restore the chosen images again, to look at them.

    Args:
        comparison: the numbers, by which images are chosen.
        restorations: candidate -> how it restores; those of `compare`.
        images: those of `compare`.

    Raises:
        AdairError: as `compare`.
    """
    protocol = comparison.first.protocol
    samples = {condition.label: Samples(protocol, condition, images) for condition in protocol.conditions}
    made = []
    for choice in choices(comparison):
        sample = samples[choice.condition][choice.index]
        first = _row(comparison, comparison.reference, choice)
        panels = [] if "input" in restorations else [Panel("input", _pixels(sample.degraded), first.input)]
        for name, restore in restorations.items():
            pixels = _pixels(restored_by(restore, sample))
            panels.append(Panel(name, pixels, _row(comparison, name, choice).restored))
        target = Panel("target", _pixels(sample.target), {})
        restored = [panel.pixels for panel in panels if panel.name in restorations]
        centre = most_different(restored, target.pixels)
        made.append(Example(choice, (*panels, target), centre))
    return made


def _row(comparison: Comparison, candidate: str, choice: Choice) -> ImageResult:
    rows = comparison.reports[candidate].rows
    return next(row for row in rows if (row.condition, row.image) == (choice.condition, choice.image))


def _pixels(image: Tensor) -> Pixels:
    levels: Pixels = (quantized(image)[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return levels


def most_different(restored: list[Pixels], target: Pixels, *, side: int = 64) -> tuple[int, int]:
    """Find the region in which the errors of the first and of another restoration differ most.

    Args:
        restored: ``(H, W, 3)`` each, the reference first.
        target: the same shape.
        side: of the square over which errors are summed; the image's own where that is smaller.

    Returns:
        Row and column of the region's centre.
    """
    errors = [np.abs(image.astype(np.float64) - target).mean(2) for image in restored]
    contrast = np.max([np.abs(error - errors[0]) for error in errors[1:]], axis=0)
    height, width = contrast.shape
    rows, columns = min(side, height), min(side, width)
    sums = _sums(contrast, rows, columns)
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top) + rows // 2, int(left) + columns // 2


def _sums(plane: Plane, rows: int, columns: int) -> Plane:
    """Sum over every rectangle of this size: ``(H - rows + 1, W - columns + 1)``."""
    total = np.pad(plane, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums: Plane = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    return sums
