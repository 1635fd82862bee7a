"""Where training patches come from: clean images, or pairs of a degraded and a clean image."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from adair_core.data.decode_cache import CACHE_BYTES, DecodeCache
from adair_core.data.decoding import MAX_PIXELS, ImageHeader
from adair_core.data.folders import find_images
from adair_core.data.pixels import Array
from adair_core.data.survey import Rejected, Survey, refuse_unusable, survey
from adair_core.errors import DataError, listing


class Pixels(NamedTuple):
    """The images of one item, ``(H, W, C)`` arrays of equal height and width; `input` is None for clean images."""

    target: Array
    input: Array | None


class Source(ABC):
    """A sequence of images or pairs that training draws from.

    Attributes:
        survey: what the files turned out to be; its notices are for people.
    """

    survey: Survey
    _cache: DecodeCache

    @abstractmethod
    def read(self, index: int) -> Pixels:
        """Return an item's images, decoded at most once if they fit into the cache.

        Raises:
            DataError: an image is damaged.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Count the items."""

    def rejected(self) -> list[Rejected]:
        """List the files that are not used: those of the survey, and those that decoding found damaged since."""
        return [*self.survey.rejected, *self._cache.unusable()]

    def close(self) -> None:
        """Remove the cache; it is removed at exit in any case."""
        self._cache.close()

    def _open(self, headers: Sequence[ImageHeader], *, strict: bool, cache_bytes: int, max_pixels: int) -> None:
        self._cache = DecodeCache(headers, budget=cache_bytes, max_pixels=max_pixels)
        if strict:
            self._decode_all(headers)

    def _decode_all(self, headers: Sequence[ImageHeader]) -> None:
        damaged = []
        for index, header in enumerate(headers):
            try:
                self._cache.read(index)
            except DataError:
                damaged.append(header)
        usable = tuple(header for header in headers if header not in damaged)
        refuse_unusable(Survey(usable, tuple(self._cache.unusable())), strict=True)


class CleanImages(Source):
    """Clean images, which a degradation turns into pairs.

    Args:
        files: image files; one that is named twice counts once.
        smallest: side of the largest patch; smaller images are skipped.
        strict: refuse files that cannot be used, after decoding every one, in place of skipping them.
        cache_bytes: disk space for decoded images; images that do not fit are decoded whenever they are used.
        max_pixels: skip images of more pixels.

    Raises:
        DataError: no image can be used, or, if `strict`, some cannot.
    """

    def __init__(
        self,
        files: Iterable[Path],
        *,
        smallest: int = 1,
        strict: bool = False,
        cache_bytes: int = CACHE_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        unique: dict[str, Path] = {}
        for path in files:
            unique.setdefault(os.path.realpath(path), path)
        self.survey = survey([*unique.values()], smallest=smallest, strict=strict, max_pixels=max_pixels)
        self._open(self.survey.usable, strict=strict, cache_bytes=cache_bytes, max_pixels=max_pixels)

    @classmethod
    def from_folders(
        cls,
        folders: Iterable[Path],
        *,
        smallest: int = 1,
        strict: bool = False,
        cache_bytes: int = CACHE_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> CleanImages:
        """Use all images of some folders and their subfolders; arguments as for the class.

        Raises:
            DataError: a folder is missing, a file, or without images, or as for the class.
        """
        files = [file for folder in folders for file in find_images(folder)]
        return cls(files, smallest=smallest, strict=strict, cache_bytes=cache_bytes, max_pixels=max_pixels)

    def __len__(self) -> int:
        return len(self.survey.usable)

    def read(self, index: int) -> Pixels:
        """Return image `index` as the target."""
        return Pixels(self._cache.read(index), None)


class PairedImages(Source):
    """Pairs of a degraded and a clean image, matched by their paths inside the folders without the file ending.

    Args:
        inputs: folder of degraded images.
        targets: folder of clean images.
        smallest: as in `CleanImages`.
        strict: as in `CleanImages`.
        cache_bytes: as in `CleanImages`.
        max_pixels: as in `CleanImages`.

    Raises:
        DataError: a folder is missing or without images, an image has no partner or several, the sizes of a pair
            differ, no pair can be used, or, if `strict`, some cannot.
    """

    def __init__(
        self,
        inputs: Path,
        targets: Path,
        *,
        smallest: int = 1,
        strict: bool = False,
        cache_bytes: int = CACHE_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        pairs = match_pairs(inputs, targets)
        files = [path for pair in pairs for path in pair]
        self.survey = survey(files, smallest=smallest, strict=strict, max_pixels=max_pixels)
        headers = {header.path: header for header in self.survey.usable}
        self.pairs = [(headers[a], headers[b]) for a, b in pairs if a in headers and b in headers]
        if not self.pairs:
            raise DataError(f"{inputs} and {targets}: no pair can be used: {listing(self.survey.rejected, limit=3)}")
        require_equal_sizes(self.pairs)
        flat = [header for pair in self.pairs for header in pair]
        self._open(flat, strict=strict, cache_bytes=cache_bytes, max_pixels=max_pixels)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> Pixels:
        """Return pair `index`."""
        return Pixels(target=self._cache.read(2 * index + 1), input=self._cache.read(2 * index))


def match_pairs(inputs: Path, targets: Path) -> list[tuple[Path, Path]]:
    """Pair the images of two folders by their paths inside the folders without the file ending, sorted.

    Raises:
        DataError: a folder is missing or without images, or an image has no partner or several; all are listed.
    """
    degraded, clean = by_stem(inputs), by_stem(targets)
    problems = []
    for name, here, other in (("inputs", degraded, clean), ("targets", clean, degraded)):
        alone = sorted(stem for stem in here if stem not in other)
        if alone:
            problems.append(f"{name} without a partner ({len(alone)}): {listing(alone, limit=10)}")
    if problems:
        raise DataError(f"{inputs} and {targets}: expected a pair for every name, got {'; '.join(problems)}")
    return [(degraded[stem], clean[stem]) for stem in sorted(degraded)]


def by_stem(folder: Path) -> dict[str, Path]:
    """List a folder's images by their paths inside it without the file ending.

    Raises:
        DataError: the folder is missing or without images, or two images have the same name.
    """
    stems: dict[str, Path] = {}
    for path in find_images(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in stems:
            raise DataError(f"{path}: has the same name as {stems[stem]}; expected one of each")
        stems[stem] = path
    return stems


def require_equal_sizes(pairs: Iterable[tuple[ImageHeader, ImageHeader]]) -> None:
    """Check that the images of each pair are of one size.

    Raises:
        DataError: some are not; all are listed.
    """
    unequal = [
        f"{a.path} ({a.width} x {a.height}) and {b.path} ({b.width} x {b.height})"
        for a, b in pairs
        if (a.width, a.height) != (b.width, b.height)
    ]
    if unequal:
        raise DataError(f"pairs of unequal size ({len(unequal)}): {listing(unequal)}")
