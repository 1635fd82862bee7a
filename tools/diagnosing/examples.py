"""What the network learns from: photos that something is wrong with, or nothing, or nothing that has a name here.

A seeded draw makes sample n, whatever the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import torch
from adaptation.tasks import CLEAN_SETS
from torch import Tensor

from adair_core.data.images import find_images, read_image, to_tensor
from adair_core.data.seeds import generator
from adair_core.degradation import Degradation, uniform, uniform_integer
from adair_core.plugins import plugins
from adair_core.specs import Choice
from diagnosing.camera import developed, enlarged
from diagnosing.findings import CAMERA, WRONG
from diagnosing.neither import NEITHER

LARGEST_SIDE = 128
MARGIN = 16
"""Pixels around a crop that are degraded with it: JPEG's blocks lie anywhere, and no border of a filter shows."""
Item = TypeVar("Item")
NOTHING_TO_GAIN = 1e-4
"""Mean squared error, 40 dB, below which a degraded image counts as clean."""
HARDLY_ANYTHING = (0.8e-4, 1.25e-4)
"""Mean squared errors, 41 to 39 dB, about which nobody is right: such examples teach the expected error alone."""
CLEAN_TURNS, NEITHER_TURNS = 4, 2
"""How many of the turns are theirs; a finding has one, and camera noise, which has two looks, has two."""

Part = Literal["training", "calibration", "validation"]


def part_of(index: int) -> Part:
    """Which part a set's photo of this number belongs to: of 20 photos 17, 1 and 2."""
    return {0: "validation", 10: "validation", 5: "calibration"}.get(index % 20, "training")  # type: ignore[return-value]


@dataclass(frozen=True)
class Example:
    """An image, what is wrong with it, and how far it is from its original.

    Attributes:
        image: ``(3, side, side)``, or a whole photo; of 256 levels in [0, 1].
        label: index in `FINDINGS`; ``None``: none of them.
        error: mean squared error.
    """

    image: Tensor
    label: int | None
    error: float

    @property
    def disputed(self) -> bool:
        """Whether it is as good as clean, and not quite."""
        return self.label is not None and HARDLY_ANYTHING[0] < self.error < HARDLY_ANYTHING[1]


class Examples:
    """Endless examples by their number.

    Args:
        root: folder of the image sets.
        part: of the photos.
        side: of crops, `LARGEST_SIDE` at most; ``None``: whole photos.
    """

    def __init__(self, root: Path, part: Part, *, side: int | None) -> None:
        self._part, self._side = part, side
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
        chosen = [file for index, file in enumerate(files) if part_of(index) == self._part]
        photos = [(to_tensor(read_image(file))[0] * 255).round().to(torch.uint8) for file in chosen]
        return [photo for photo in photos if min(photo.shape[1:]) >= LARGEST_SIDE + MARGIN]

    def of_side(self, side: int) -> Examples:
        """The same in crops of another size."""
        other = copy.copy(self)
        other._side = side
        return other

    @cached_property
    def _as_saved(self) -> Degradation:
        return plugins().degradation(Choice(name="jpeg", options={"quality": [88, 98]}))

    def __getitem__(self, index: int) -> Example:
        """Make an example of what has its turn."""
        draws = generator(7, f"{self._part} {'photo' if self._side is None else 'crop'}", index)
        turn = uniform_integer(-CLEAN_TURNS - NEITHER_TURNS, len(WRONG), draws)
        if turn < -CLEAN_TURNS:
            return self.neither(_one(list(NEITHER), draws), draws)
        return self.unharmed(draws) if turn < 0 else self.wrong(CAMERA if turn == len(WRONG) else turn, draws)

    def unharmed(self, draws: torch.Generator) -> Example:
        """Make a good photo; some are JPEGs of high quality."""
        sets = [self.clean, *([target for _, target in pairs] for pairs in self.pairs.values())]
        target = self._varied(
            self._cut(_one(sets[0] if _happens(0.7, draws) else _one(sets, draws), draws), draws), draws
        )
        degraded = self._saved(target, draws) if _happens(0.5, draws) else target
        return self._example(degraded, target, 0, draws)

    def neither(self, kind: str, draws: torch.Generator) -> Example:
        """Make a photo with which something is wrong that has no name here."""
        target = self._varied(self._cut(_one(self.clean, draws), draws), draws)
        degraded = NEITHER[kind](target, draws)
        return self._example(degraded, target, None, draws)

    def wrong(self, which: int, draws: torch.Generator, *, real: bool | None = None) -> Example:
        """Make a photo with which something is wrong.

        Args:
            which: index in `WRONG`.
            draws: of all that is random.
            real: from a pair, or a camera that denoises, or not; ``None``: in one of two.
        """
        pairs = self.pairs.get(WRONG[which].finding.name)
        real = _happens(0.5, draws) if real is None else real
        if pairs is not None and real:
            degraded, target = self._from_pair(_one(pairs, draws), which, draws)
        else:
            target = self._varied(self._cut(_one(self.clean, draws), draws), draws)
            if which == CAMERA and real:
                degraded = developed(target, draws)
            else:
                degraded = self._degradations[which](target[None], draws)[0]
        is_jpeg = WRONG[which].degradation.name in ("jpeg", "camera-noise")
        if not is_jpeg and _happens(0.3, draws):
            degraded = self._saved(rounded(degraded), draws)
        return self._example(degraded, target, which + 1, draws)

    def _from_pair(self, pair: tuple[Tensor, Tensor], which: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a pair; rain, which is added to a picture, in half of the cases as added to another one."""
        degraded, target = self._cut(torch.cat(pair), draws).split(3)
        if WRONG[which].degradation.name != "rain" or self._side is None or not _happens(0.5, draws):
            return degraded, target
        other = self._cut(_one(self.clean, draws), draws)
        return (other + degraded - target).clamp(0, 1), other

    def _example(self, degraded: Tensor, target: Tensor, label: int | None, draws: torch.Generator) -> Example:
        degraded = rounded(degraded)
        if self._side is not None:
            y, x = (uniform_integer(0, MARGIN, draws) for _ in range(2))
            degraded, target = (image[:, y : y + self._side, x : x + self._side] for image in (degraded, target))
        error = float((degraded - target).square().mean())
        return Example(degraded, 0 if label and error <= NOTHING_TO_GAIN else label, max(error, 1e-6))

    def _cut(self, photo: Tensor, draws: torch.Generator) -> Tensor:
        if self._side is not None:
            side = self._side + MARGIN
            y, x = (uniform_integer(0, length - side, draws) for length in photo.shape[1:])
            photo = photo[:, y : y + side, x : x + side]
        photo = photo.float() / 255
        return torch.rot90(photo.flip(2) if _happens(0.5, draws) else photo, uniform_integer(0, 3, draws), (1, 2))

    def _varied(self, image: Tensor, draws: torch.Generator) -> Tensor:
        """Enlarge some, and make some brighter or darker: good photos differ so, and nothing is wrong with that."""
        factor, gamma, contrast = (uniform(bounds, draws) for bounds in ((1, 2.2), (0.75, 1.3), (0.8, 1.1)))
        if _happens(0.4, draws):
            image = enlarged(image, factor)
        if _happens(0.3, draws):
            image = (image.clamp(0, 1) ** gamma - 0.5) * contrast + 0.5
        return image.clamp(0, 1)

    def _saved(self, image: Tensor, draws: torch.Generator) -> Tensor:
        return self._as_saved(image[None], draws)[0]


def _one(items: Sequence[Item], draws: torch.Generator) -> Item:
    return items[uniform_integer(0, len(items) - 1, draws)]


def _happens(probability: float, draws: torch.Generator) -> bool:
    return uniform((0, 1), draws) < probability


def rounded(image: Tensor) -> Tensor:
    """Round to 256 levels, as files of 8 bits do."""
    return (image.clamp(0, 1) * 255).round() / 255
