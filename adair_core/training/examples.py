"""From a recipe's data to training samples and validation images."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adair_core.data.folders import copies
from adair_core.data.images import read_image, to_tensor
from adair_core.data.patches import PatchPairs
from adair_core.data.photos import sample_photo_files
from adair_core.data.pixels import to_batch
from adair_core.data.sources import CleanImages, PairedImages, Pixels, Source
from adair_core.degradation import Degradation
from adair_core.errors import DataError, UsageError, listing
from adair_core.evaluation import EvaluationImage, EvaluationImages, evaluation_images
from adair_core.evaluation.images import middle
from adair_core.training.recipe import Data, Settings
from adair_core.training.schedule import spans

HELD_OUT_SHARE = 0.05
MOST_HELD_OUT = 8
HELD_OUT_SIDE = 256
"""Held-out images are cut to their middle of this size: a validation is to cost less than the training between two."""


@dataclass(frozen=True)
class Examples:
    """What a run trains and validates on.

    Attributes:
        training: samples by ``(index, patch size)``.
        validation: images for a protocol.
        identity: hash of the training images' names and sizes; another one means that the data have changed.
    """

    training: PatchPairs
    validation: EvaluationImages
    identity: str


class Subset(Source):
    """Some of the items of a source.

    Args:
        source: all of them.
        indices: those that are wanted.
    """

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source, self.indices = source, tuple(indices)
        self.survey, self._cache = source.survey, source._cache

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> Pixels:
        """Return item `index` of the subset."""
        return self.source.read(self.indices[index])


def gather(
    data: Data,
    settings: Settings,
    degradation: Degradation | None,
    *,
    say: Callable[[str], None],
    side: int = HELD_OUT_SIDE,
) -> Examples:
    """Open the training images and choose the validation images.

    Args:
        data: where they are.
        settings: patch sizes and seed.
        degradation: makes pairs of clean images; None = real pairs are needed.
        say: told what a person should know.
        side: images that are held out are cut to their middle of this size, in pixels.

    Raises:
        UsageError: the data do not fit the task.
        DataError: images are missing or cannot be used.
    """
    smallest = max(stage.patch_size for _, stage in spans(settings))
    source, paths = _open(data, smallest, degradation)
    if _are_samples(data):
        say("no data given: training on the sample photos of scikit-image")
    for notice in source.survey.notices():
        say(notice)
    if data.validation is not None:
        validation, training = evaluation_images(data.validation, data.validation_input), source
        say(f"{len(source)} training images; validation on {len(validation)} images of {data.validation}")
    elif _are_samples(data):
        validation, training = _photos(), source
        say(f"{len(source)} training images; validation on {listing([name for name, *_ in validation])}")
    else:
        held_out = _held_out([path.name for path in paths])
        names = _told_apart(paths)
        others = [index for index in range(len(source)) if index not in held_out]
        alike = copies((paths[index] for index in others), of=(paths[index] for index in held_out))
        rest = [index for index in others if paths[index] not in alike] or others
        validation, training = _middles(source, names, held_out, side), Subset(source, rest or held_out)
        chosen = listing([names[index] for index in held_out])
        note = f"held out for validation: {chosen}" if rest else f"validation on the only training image, {chosen}"
        if len(rest) < len(others):
            left_out = [names[index] for index in others if paths[index] in alike]
            note += f"; left out, as their clean images are copies of these: {listing(left_out)}"
        say(f"{len(training)} training images; {note}")
    patches = PatchPairs(
        training,
        seed=settings.seed,
        degradation=degradation,
        flat_share=settings.flat_share,
        gray_share=settings.gray_share,
    )
    return Examples(patches, validation, _identity(source))


def with_absolute_paths(data: Data) -> Data:
    """Make every path absolute, so that a recipe means the same in any folder."""
    return data.model_copy(
        update={
            "images": tuple(path.absolute() for path in data.images),
            **{
                name: getattr(data, name).absolute()
                for name in ("pairs_input", "pairs_target", "validation", "validation_input")
                if getattr(data, name) is not None
            },
        }
    )


def _open(data: Data, smallest: int, degradation: Degradation | None) -> tuple[Source, list[Path]]:
    if (data.pairs_input is None) != (data.pairs_target is None):
        raise UsageError("pairs: expected a folder of inputs and a folder of targets, got only one of them")
    if data.validation_input is not None and data.validation is None:
        raise UsageError("validation input: expected a folder of clean validation images with it, got none")
    if data.pairs_input is not None and data.pairs_target is not None:
        if data.images:
            raise UsageError("data: expected folders of clean images or folders of pairs, got both")
        if degradation is not None:
            raise UsageError(
                "pairs: this task makes its inputs from clean images; for real pairs leave the task out (it is then "
                "'pairs'), or take one that has the option pairs, such as derain"
            )
        pairs = PairedImages(data.pairs_input, data.pairs_target, smallest=smallest, strict=data.strict)
        return pairs, [target.path for _, target in pairs.pairs]
    if degradation is None:
        raise UsageError("this task learns from real pairs: give a folder of inputs and a folder of targets")
    if _are_samples(data):
        clean = CleanImages(sample_photo_files(), smallest=smallest, strict=data.strict)
    else:
        clean = CleanImages.from_folders(data.images, smallest=smallest, strict=data.strict)
    return clean, [header.path for header in clean.survey.usable]


def _are_samples(data: Data) -> bool:
    return not data.images and data.pairs_input is None


def _photos() -> list[EvaluationImage]:
    return [(path.name, to_tensor(read_image(path))) for path in sample_photo_files(held_out=True)]


def _held_out(names: Sequence[str]) -> list[int]:
    """Choose by hashed names: the same images whatever the machine, and nearly the same when others are added."""
    count = min(max(round(len(names) * HELD_OUT_SHARE), 1), MOST_HELD_OUT)
    digests = [hashlib.blake2b(name.encode()).hexdigest() for name in names]
    return sorted(sorted(range(len(names)), key=lambda index: (digests[index], index))[:count])


def _told_apart(paths: Sequence[Path]) -> list[str]:
    """Name images, with their folders where several have one name: in a report equal names are one image."""
    common = os.path.commonpath([path.parent for path in paths])
    counts = Counter(path.name for path in paths)
    return [path.name if counts[path.name] == 1 else path.relative_to(common).as_posix() for path in paths]


def _middles(source: Source, names: Sequence[str], indices: Sequence[int], side: int) -> list[EvaluationImage]:
    images: list[EvaluationImage] = []
    for index in indices:
        try:
            pixels = source.read(index)
        except DataError:  # damaged, as the source has said
            continue
        target, _ = to_batch(pixels.target)
        given = None if pixels.input is None else to_batch(pixels.input)[0]
        whole = (names[index], target) if given is None else (names[index], given, target)
        images.append(middle(whole, side))
    if not images:
        raise DataError(f"none of the images held out for validation can be decoded: {listing(source.rejected())}")
    return images


def _identity(source: Source) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for header in source.survey.usable:
        digest.update(f"{header.path.name} {header.width} {header.height} {_size(header.path)}\n".encode())
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
