"""Pictures inside an HTML page, as data URIs, within a budget."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adair_core.evaluation.examples import Example, Pixels

BUDGET = 12_000_000
"""Bytes of all pictures of a page, as text. Mail and version control take files of this size."""

SIDES = (384, 320, 256, 192, 128, 96, 64)
"""Sides of the crops that are tried, in pixels."""

OVERVIEW = 200
"""Longer side of the small picture of the whole image, in pixels."""


@dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Attributes:
        name: what it shows.
        uri: ``data:image/...``.
        values: metric -> its value as text.
    """

    name: str
    uri: str
    values: dict[str, float]


@dataclass(frozen=True)
class Crops:
    """A part of an example, without loss, and where it lies.

    Attributes:
        example: the example.
        pictures: the part of each panel.
        overview: the whole target, small, lossy: a data URI.
        box: left, top, width and height of the part, in percent of the image.
        size: width and height of the part, in pixels.
        focus: where the example's centre lies in the part: shares of its width and height.
    """

    example: Example
    pictures: tuple[Picture, ...]
    overview: str
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    focus: tuple[float, float]


def crops_within(examples: Sequence[Example], *, budget: int = BUDGET) -> list[Crops]:
    """Cut the largest parts out of all examples whose pictures fit into the budget.

    Args:
        examples: what to show.
        budget: bytes. If the smallest parts do not fit, the last examples are left out.
    """
    made: list[Crops] = []
    largest = float(SIDES[0])
    for side in SIDES:
        if side > largest and side > SIDES[-1]:
            continue  # it cannot fit
        made = [crop(example, side) for example in examples]
        size = sum(map(_bytes, made))
        if size <= budget:
            return made
        largest = side * math.sqrt(budget / size)  # bytes follow the area
    kept = []
    for each in made:
        budget -= _bytes(each)
        if budget < 0:
            break
        kept.append(each)
    return kept


def crop(example: Example, side: int) -> Crops:
    """Cut a square around an example's centre out of each panel; it stays inside the image."""
    height, width = example.panels[0].pixels.shape[:2]
    rows, columns = min(side, height), min(side, width)
    top = min(max(example.centre[0] - rows // 2, 0), height - rows)
    left = min(max(example.centre[1] - columns // 2, 0), width - columns)
    pictures = tuple(
        Picture(panel.name, _webp(panel.pixels[top : top + rows, left : left + columns]), dict(panel.values))
        for panel in example.panels
    )
    box = (100 * left / width, 100 * top / height, 100 * columns / width, 100 * rows / height)
    focus = ((example.centre[1] - left) / columns, (example.centre[0] - top) / rows)
    return Crops(example, pictures, _overview(example.panels[-1].pixels), box, (columns, rows), focus)


def _bytes(crops: Crops) -> int:
    return len(crops.overview) + sum(len(picture.uri) for picture in crops.pictures)


def _webp(pixels: Pixels) -> str:
    return _encoded(_image(pixels), "webp", lossless=True)


def _overview(pixels: Pixels) -> str:
    image = _image(pixels)
    image.thumbnail((OVERVIEW, OVERVIEW))
    return _encoded(image, "webp", quality=80)


def _image(pixels: Pixels) -> Any:
    from PIL import Image

    return Image.fromarray(pixels.copy())


def _encoded(image: Any, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
