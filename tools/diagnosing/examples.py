"""What the network learns from: photos that something is wrong with, or nothing.

The findings are adair's tasks, each with its own degradation; a seeded draw makes sample n, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from adaptation.tasks import CLEAN_SETS
from torch import Tensor
from torch.nn import functional

from adair_core.data.images import find_images, read_image, to_tensor
from adair_core.data.seeds import generator
from adair_core.degradation import Degradation, uniform, uniform_integer
from adair_core.diagnosis import CLEAN, Finding
from adair_core.plugins import plugins
from adair_core.specs import Choice

SIDE = 128
MARGIN = 16
"""Pixels around a crop that are degraded with it: JPEG's blocks lie anywhere, and no border of a filter shows."""
Item = TypeVar("Item")
NOTHING_TO_GAIN = 1e-4
"""Mean squared error, 40 dB, below which a degraded image counts as clean."""
HELD_OUT = 20
"""Every so many-th photo is not trained on."""


@dataclass(frozen=True)
class Wrong:
    """A finding and what shows it.

    Attributes:
        finding: what is told.
        degradation: synthetic examples.
        pairs: folder below ``train_paired/`` of real ones, or of another maker's.
    """

    finding: Finding
    degradation: Choice
    pairs: str | None = None


WRONG = (
    Wrong(Finding("noise", "denoise"), Choice(name="gaussian-noise", options={"sigma": [3, 55]})),
    Wrong(Finding("camera noise", "real-denoise"), Choice(name="camera-noise", options={"quality": [85, 100]})),
    Wrong(
        Finding("blur", "deblur", {"kind": "gaussian"}),
        Choice(name="gaussian-blur", options={"sigma": [1.2, 4], "ratio": [0.8, 1.0]}),
    ),
    Wrong(
        Finding("motion blur", "deblur", {"kind": "motion"}),
        Choice(name="motion-blur", options={"length": [6, 24], "shake": [0, 0.8]}),
    ),
    Wrong(
        Finding("rain", "derain"),
        Choice(
            name="rain",
            options={
                "layers": [1, 3],
                "length": [15, 50],
                "width": [0.8, 3],
                "tilt": [-40, 40],
                "spread": [0, 8],
                "coverage": [0.02, 0.12],
                "brightness": [0.3, 0.8],
            },
        ),
        "Rain100L",
    ),
    Wrong(
        Finding("haze", "dehaze"),
        Choice(
            name="haze",
            options={
                "beta": [0.6, 1.8],
                "airlight": [0.7, 1],
                "tint": [0, 0.04],
                "distance": [0.3, 0.8],
                "slope": [0, 0.6],
                "relief": [0, 0.2],
            },
        ),
        "SOTS_indoor",
    ),
    Wrong(Finding("JPEG artefacts", "dejpeg"), Choice(name="jpeg", options={"quality": [8, 80]})),
    Wrong(
        Finding("low light", "low-light"),
        Choice(
            name="low-light",
            options={"exposure": [-5, -2], "gamma": [1, 1.4], "photons": [1000, 20000], "read": [0.02, 0.3]},
        ),
        "LOL",
    ),
)
FINDINGS = (CLEAN, *(wrong.finding for wrong in WRONG))


@dataclass(frozen=True)
class Example:
    """An image, what is wrong with it, and how far it is from its original.

    Attributes:
        image: ``(3, SIDE, SIDE)``, or a whole photo; of 256 levels in [0, 1].
        label: index in `FINDINGS`.
        error: mean squared error.
    """

    image: Tensor
    label: int
    error: float


class Examples:
    """Endless examples by their number.

    Args:
        root: folder of the image sets.
        held_out: the photos that are kept for calibration, as a whole, in place of crops of the others.
    """

    def __init__(self, root: Path, *, held_out: bool) -> None:
        self._held_out = held_out
        self.clean = self._photos([root / name for name in CLEAN_SETS])
        self.pairs = {
            wrong.finding.name: list(
                zip(
                    *(self._photos([root / "train_paired" / wrong.pairs / part]) for part in ("input", "target")),
                    strict=True,
                )
            )
            for wrong in WRONG
            if wrong.pairs is not None
        }
        self._degradations = [plugins().degradation(wrong.degradation) for wrong in WRONG]

    def _photos(self, folders: Sequence[Path]) -> list[Tensor]:
        files = [file for folder in folders for file in find_images(folder)]
        chosen = [file for index, file in enumerate(files) if (index % HELD_OUT == 0) == self._held_out]
        photos = [(to_tensor(read_image(file))[0] * 255).round().to(torch.uint8) for file in chosen]
        return [photo for photo in photos if min(photo.shape[1:]) >= SIDE + MARGIN]

    @cached_property
    def _as_saved(self) -> Degradation:
        return plugins().degradation(Choice(name="jpeg", options={"quality": [88, 98]}))

    def __getitem__(self, index: int) -> Example:
        """Make an example; the findings take turns, clean images three times as often."""
        draws = generator(7, "held out" if self._held_out else "example", index)
        which = uniform_integer(-3, len(WRONG) - 1, draws)
        if which < 0:
            degraded, target = self._clean(draws)
        else:
            degraded, target = self._wrong(which, draws)
        if not self._held_out:
            y, x = (uniform_integer(0, MARGIN, draws) for _ in range(2))
            degraded, target = (image[:, y : y + SIDE, x : x + SIDE] for image in (degraded, target))
        error = float((degraded - target).square().mean())
        return Example(degraded, which + 1 if which >= 0 and error > NOTHING_TO_GAIN else 0, max(error, 1e-6))

    def _clean(self, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a good photo; some in JPEGs of high quality."""
        sets = [self.clean, *([target for _, target in pairs] for pairs in self.pairs.values())]
        target = self._cut(_one(sets[0] if _happens(0.7, draws) else _one(sets, draws), draws), draws)
        target = self._softened(target, draws)
        degraded = self._saved(target, draws) if _happens(0.5, draws) else target
        return rounded(degraded), target

    def _wrong(self, which: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        pairs = self.pairs.get(WRONG[which].finding.name)
        if pairs is not None and _happens(0.5, draws):
            degraded, target = self._cut(torch.cat(_one(pairs, draws)), draws).split(3)
        else:
            target = self._softened(self._cut(_one(self.clean, draws), draws), draws)
            degraded = self._degradations[which](target[None], draws)[0]
        degraded = rounded(degraded)
        is_jpeg = WRONG[which].degradation.name in ("jpeg", "camera-noise")
        return (degraded if is_jpeg or not _happens(0.3, draws) else rounded(self._saved(degraded, draws))), target

    def _cut(self, photo: Tensor, draws: torch.Generator) -> Tensor:
        if not self._held_out:
            y, x = (uniform_integer(0, length - SIDE - MARGIN, draws) for length in photo.shape[1:])
            photo = photo[:, y : y + SIDE + MARGIN, x : x + SIDE + MARGIN]
        photo = photo.float() / 255
        return torch.rot90(photo.flip(2) if _happens(0.5, draws) else photo, uniform_integer(0, 3, draws), (1, 2))

    def _softened(self, image: Tensor, draws: torch.Generator) -> Tensor:
        """Enlarge some: large photos are not sharp at each pixel, and nothing is wrong with that."""
        factor = uniform((1.0, 2.2), draws)
        if not _happens(0.4, draws):
            return image
        height, width = image.shape[1:]
        large = functional.interpolate(image[None], scale_factor=factor, mode="bicubic", antialias=True)[0]
        return large[:, :height, :width].clamp(0, 1)

    def _saved(self, image: Tensor, draws: torch.Generator) -> Tensor:
        return self._as_saved(image[None], draws)[0]


def _one(items: Sequence[Item], draws: torch.Generator) -> Item:
    return items[uniform_integer(0, len(items) - 1, draws)]


def _happens(probability: float, draws: torch.Generator) -> bool:
    return uniform((0, 1), draws) < probability


def rounded(image: Tensor) -> Tensor:
    """Round to 256 levels, as files of 8 bits do."""
    return (image.clamp(0, 1) * 255).round() / 255
