"""The rows of an image on their way into its file, whatever the format."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyvips
import torch

from adair_core.data.encoders import (
    JPEG_QUALITY,
    encode_avif,
    encode_jpeg,
    encode_webp,
    save_png,
    save_tiff,
    to_vips,
)
from adair_core.data.file_rows import reason_of
from adair_core.data.image_file import Format, ImageFile, ImageInfo, Subsampling
from adair_core.data.pixels import Array, from_unit, to_unit
from adair_core.data.row_pipe import RowPipe
from adair_core.data.tiff_writing import GrowingTiff
from adair_core.errors import DataError, UsageError, expected

Quality = int | Literal["keep"] | None

DEEPEST: Mapping[Format, int] = {"png": 2, "jpeg": 1, "webp": 1, "tiff": 4, "avif": 2}
"""Bytes of the largest values that a format holds."""

ROWWISE: Mapping[str, Callable[[Any, ImageInfo, Any], None]] = {"png": save_png, "tiff": save_tiff}
"""Formats that are encoded row by row, and by what; the encoders of the others take a whole image."""


@dataclass(frozen=True)
class Coding:
    """What is chosen about how lossy formats are written; the rest follows the file that the image came from.

    Attributes:
        quality: 1 to 100. None: 95, or better where a JPEG's own tables are finer; WebP and AVIF are lossless unless
            the image comes from a lossy file. ``"keep"``: a JPEG gets the quantisation tables that it had.
        subsampling: of JPEG's colour; None = that of the JPEG that the image comes from, or none (4:4:4).
    """

    quality: Quality = None
    subsampling: Subsampling | None = None

    def __post_init__(self) -> None:
        quality = self.quality
        if isinstance(quality, str) and quality != "keep":
            raise UsageError(expected("quality", expected="1 to 100 or 'keep'", got=repr(quality)))
        if isinstance(quality, int) and not 1 <= quality <= 100:
            raise UsageError(expected("quality", expected="1 to 100 or 'keep'", got=quality))

    @property
    def is_default(self) -> bool:
        """Whether nothing was chosen."""
        return self == Coding()

    def number(self, image: ImageFile) -> int | None:
        """The quality for WebP and AVIF; None = lossless."""
        if isinstance(self.quality, int):
            return self.quality
        return None if image.storage.lossless else JPEG_QUALITY


def held_type(dtype: np.dtype[Any], kind: Format) -> np.dtype[Any]:
    """The deepest type of values that a format holds of those given."""
    deepest = DEEPEST[kind]
    return dtype if dtype.itemsize <= deepest else np.dtype(np.uint8 if deepest == 1 else np.uint16)


class PageRows:
    """The rows of an image on their way into a file.

    Args:
        path: its name, for messages.
        kind: its format.
        info: about the image as it will be stored.
        coding: what is chosen about lossy formats.
        file: it, empty; of a TIFF, which may have pages before this one, see there.
    """

    def __init__(self, path: Path, kind: Format, info: ImageInfo, coding: Coding, file: BinaryIO | GrowingTiff) -> None:
        self._path, self._kind, self._info, self._coding, self._file = path, kind, info, coding, file
        self._count = 0
        self._pipe: RowPipe | None = None
        self._gathered: ImageFile | None = None

    def write(self, band: ImageFile) -> None:
        """Take the next rows."""
        deepest = DEEPEST[self._kind]
        alpha = None if band.alpha is None else _rounded(band.alpha, deepest)
        band = replace(band, pixels=_rounded(band.pixels, deepest), alpha=alpha, metadata=self._info.metadata)
        top, self._count = self._count, self._count + band.height
        with self._failures_told():
            if band.height == self._info.height:
                self._write_whole(band)
            elif self._kind in ROWWISE:
                self._pipe = self._pipe or RowPipe(self._info, self._save)
                self._pipe.write(band)
            else:
                self._gathered = self._gathered or self._info.blank()
                band.copy_into(self._gathered, top)

    def finish(self) -> None:
        """Write what is left."""
        if self._count != self._info.height:
            raise DataError(expected(str(self._path), expected=f"{self._info.height} rows", got=self._count))
        with self._failures_told():
            if self._pipe is not None:
                self._pipe.finish()
            elif self._gathered is not None:
                self._write_whole(self._gathered)

    def close(self) -> None:
        """Let go of everything, finished or not."""
        if self._pipe is not None:
            self._pipe.close()

    def _save(self, vips: Any) -> None:
        ROWWISE[self._kind](vips, self._info, self._file)

    def _write_whole(self, image: ImageFile) -> None:
        if self._kind in ROWWISE:
            self._save(to_vips(image))
            return
        assert not isinstance(self._file, GrowingTiff)
        coding = self._coding
        if self._kind == "jpeg":
            content = encode_jpeg(image, coding.quality, coding.subsampling)
        elif self._kind == "webp":
            content = encode_webp(image, coding.number(image))
        else:
            content = encode_avif(image, coding.number(image))
        self._file.write(content)

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except pyvips.Error as error:
            raise DataError(f"{self._path}: cannot be written: {reason_of(error)}") from error
        except (ValueError, SystemError) as error:  # Pillow's encoders
            raise DataError(f"{self._path}: cannot be written as {self._kind.upper()}: {error}") from error


def _rounded(values: Array, deepest: int) -> Array:
    """Round to the deepest type that the format holds."""
    if values.dtype.itemsize <= deepest:
        return np.ascontiguousarray(values)
    dtype = torch.uint8 if deepest == 1 else torch.uint16
    rounded: Array = from_unit(to_unit(torch.from_numpy(np.ascontiguousarray(values))), dtype).numpy()
    return rounded
