"""An image file that is decoded row by row."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from adair_core.data.image_file import ImageFile, ImageInfo
from adair_core.errors import DataError

Array = npt.NDArray[Any]

AT_ONCE = 16 * 1024**2
"""Bytes that are decoded at once, about; the decoder holds them once more."""


UNDECODABLE = (pyvips.Error, UnicodeDecodeError)
"""What reading a file through libvips raises. The second is pyvips at a message with a name that is not UTF-8."""


class FileRows:
    """An image file, whose rows are decoded when they are asked for; see `adair_core.data.image_file.ImageRows`.

    Rows are decoded in their order. Where a request needs more of them, those above its first one are let go; the
    others stay in memory, so requests may overlap. One that goes further back begins the file anew.

    Args:
        path: of the file, for messages.
        info: about the image.
        image: libvips' image, which has not been read from yet.
        again: opens it anew.
        converted: from decoded values to those of `info`.

    Attributes:
        info: about the image.
        passes: how many times its file was begun.
    """

    def __init__(
        self,
        path: Path,
        info: ImageInfo,
        image: Any,
        again: Callable[[], Any],
        converted: Callable[[Array], Array] = lambda values: values,
    ) -> None:
        self.info, self.passes = info, 0
        self._path, self._image, self._again, self._converted = path, image, again, converted
        self._read_from: Any = None
        self._region: Any = None
        self._next = 0  # row to be decoded
        self._held = self._nothing()

    def whole(self) -> ImageFile:
        """Decode all rows at once."""
        image = self._begun()
        with damage_told(self._path):
            values: Array = image.numpy().reshape(image.height, image.width, image.bands)
        return self._of(self._converted(values), lambda plane: np.require(plane, requirements=["C", "W"]))

    def rows(self, top: int, bottom: int) -> ImageFile:
        """Rows [top, bottom), which may not be written to.

        Raises:
            DataError: the file is damaged or truncated.
        """
        if self._region is None or top < self._next - len(self._held):
            # Made by the thread that reads, which libvips' regions belong to. The image holds what the region reads.
            self._read_from = self._begun()
            self._region = pyvips.Region.new(self._read_from)
            self._next = 0
            self._held = self._nothing()
        if bottom > self._next:
            self._extend(top, bottom)
        start = self._next - len(self._held)
        return self._of(self._held[top - start : bottom - start])

    def _begun(self) -> Any:
        image, self._image = self._image, None
        self.passes += 1
        if image is None:
            with damage_told(self._path):
                image = self._again()
        return image

    def _extend(self, top: int, bottom: int) -> None:
        """Decode up to a row, and let go of what lies above another."""
        held = np.empty((bottom - top, self.info.width, self.info.channels), self.info.dtype)
        start = self._next - len(self._held)
        kept = self._held[top - start :] if top < self._next else self._nothing()
        held[: len(kept)] = kept
        self._held = kept = self._nothing()  # the old rows are in memory until nothing refers to them
        place = max(top, self._next)
        step = max(1, AT_ONCE // held[0].nbytes)
        with damage_told(self._path):
            for row in range(place, bottom, step):
                count = min(step, bottom - row)
                content = self._region.fetch(0, row, self.info.width, count)
                held[row - top : row - top + count] = self._converted(self._decoded(content, count))
        self._held, self._next = held, bottom

    def _decoded(self, content: Any, count: int) -> Array:
        return np.frombuffer(content, self.info.dtype).reshape(count, self.info.width, self.info.channels)

    def _nothing(self) -> Array:
        return np.empty((0, self.info.width, self.info.channels), self.info.dtype)

    def _of(self, values: Array, stored: Callable[[Array], Array] = lambda plane: plane) -> ImageFile:
        alpha = stored(values[..., self.info.colors]) if self.info.has_alpha else None
        return self.info.image(stored(values[..., : self.info.colors]), alpha)


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Raise a `DataError` that names the file where libvips finds it damaged."""
    try:
        yield
    except UNDECODABLE as error:
        raise DataError(f"{path}: damaged or truncated image: {reason_of(error)}") from error


def reason_of(error: pyvips.Error | UnicodeDecodeError) -> str:
    """Keep of libvips' report the lines that say what is wrong with the file."""
    if isinstance(error, UnicodeDecodeError):
        return "it cannot be decoded"
    lines = [" ".join(line.split()) for line in f"{error.message}\n{error.detail}".splitlines()]
    telling = [line for line in dict.fromkeys(lines) if line and not line.startswith("unable to ")]
    return "; ".join(telling[:2]) or "it cannot be decoded"
