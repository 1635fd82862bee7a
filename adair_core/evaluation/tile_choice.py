"""Which tiles suit an adapter.

A network that trained on patches knows the statistics of patches, and those of a whole image are others: so tiles may
restore better than the whole image does. docs/tiling.md has how much, and of which tasks the contrary is true.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from adair_core.errors import DataError, expected
from adair_core.evaluation.images import EvaluationImages, middle
from adair_core.evaluation.run import Progress, compare
from adair_core.model.restoration_model import RestorationModel
from adair_core.specs import Protocol

SIDES = (None, 192, 128)
"""Sides of the tiles that are measured, in pixels, the fastest first; None = the whole image."""

TIE = 0.04
"""dB. What is so near to the best is as good, and the fastest of these is taken: tiles of 192 pixels take 1.3 times the
time of the whole image, which less is not worth."""

LARGEST = 768
"""Images are cut to their middle of this size: of larger ones ``tile="auto"`` may not restore more at once."""

METRIC = "psnr"


@dataclass(frozen=True)
class TileChoice:
    """What was measured, and what follows.

    Attributes:
        psnr: side of the tiles in pixels, None = whole -> mean over all images and conditions, in dB.
        side: the one to take.
    """

    psnr: Mapping[int | None, float]
    side: int | None


def choose_tile(
    model: RestorationModel, protocol: Protocol, images: EvaluationImages, *, progress: Progress | None = None
) -> TileChoice:
    """Restore images whole and in tiles, and choose.

    Args:
        model: with the adapter active.
        protocol: how to degrade and measure; its metrics do not count, but PSNR.
        images: that the adapter did not train on, and that it will not be judged by.
        progress: told about each image.

    Raises:
        DataError: no image is larger than the smallest tiles.
        AdairError: as `adair_core.evaluation.compare`.
    """
    ways = {str(side): functools.partial(model.restore, tile=side) for side in SIDES}
    cut = [middle(images[index], LARGEST) for index in range(len(images))]
    smallest = min(side for side in SIDES if side is not None)
    if cut and all(max(target.shape[-2:]) <= smallest for *_, target in cut):
        wanted = f"some that are larger than tiles of {smallest} pixels"
        raise DataError(expected("images to choose tiles by", expected=wanted, got=f"{len(cut)} that are not"))
    compared = compare(ways, protocol, cut, metrics=(METRIC,), progress=progress)
    psnr = {side: compared.reports[str(side)].mean(METRIC) for side in SIDES}
    return TileChoice(psnr, best_side(psnr))


def best_side(psnr: Mapping[int | None, float]) -> int | None:
    """Choose among sides, of which the fastest come first.

    >>> best_side({None: 31.55, 192: 31.60, 128: 31.61})
    192
    >>> best_side({None: 27.45, 192: 27.46, 128: 27.46})
    """
    best = max(psnr.values())
    return next(side for side, value in psnr.items() if value >= best - TIE)
