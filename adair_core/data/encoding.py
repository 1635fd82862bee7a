"""Writing image files, whole or not at all."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyvips
import torch

from adair_core.atomic_file import replacing
from adair_core.data import exif
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
from adair_core.data.image_file import SUFFIXES, Format, ImageFile, ImageInfo, Subsampling
from adair_core.data.pixels import Array, from_unit, to_unit
from adair_core.data.png_chunks import meaningful_color
from adair_core.data.row_pipe import RowPipe
from adair_core.data.workers import before_computing
from adair_core.errors import DataError, UsageError, expected

__all__ = ["JPEG_QUALITY", "Coding", "Quality", "write_image", "writing_rows"]

Quality = int | Literal["keep"] | None

DEEPEST: Mapping[Format, int] = {"png": 2, "jpeg": 1, "webp": 1, "tiff": 4, "avif": 2}
"""Bytes of the largest values that a format holds."""

LONGEST: Mapping[Format, int] = {"jpeg": 65500, "webp": 16383}
"""Rows and columns that a format holds at most, where that is told before hours of work."""

ROWWISE: Mapping[str, Callable[[Any, ImageInfo, BinaryIO], None]] = {"png": save_png, "tiff": save_tiff}
"""Formats that are encoded row by row, and by what; the encoders of the others take a whole image."""

WriteRows = Callable[[ImageFile], None]
"""Takes the next rows of an image, which its file gets."""


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


def write_image(path: Path | str, image: ImageFile, *, overwrite: bool = False, coding: Coding | None = None) -> None:
    """Write an image, in the format that the file name's ending says, whole or not at all.

    PNG, TIFF, WebP and AVIF keep every bit of 8 bit images (the latter two if they are written without loss), PNG and
    TIFF of 16 bit images, TIFF of floats. A deeper image than the format can hold is rounded: JPEG and WebP hold 8
    bits, AVIF 12, PNG 16. Colour profile, EXIF (made to say that the pixels are upright, without its preview), XMP and
    resolution are kept where the format has a place for them, and so is how a file of the same format was stored:
    see `adair_core.data.image_file.Storage`. WebP and AVIF store gray as RGB.

    Args:
        path: the new file.
        image: what to write.
        overwrite: replace an existing file.
        coding: what is chosen about lossy formats.

    Raises:
        DataError: the file exists, its ending is not known, the format cannot hold the image, or writing failed; an
            existing file is then as it was.
    """
    with writing_rows(path, image.info, overwrite=overwrite, coding=coding) as write:
        write(image)


@contextlib.contextmanager
def writing_rows(
    path: Path | str, info: ImageInfo, *, overwrite: bool = False, coding: Coding | None = None
) -> Iterator[WriteRows]:
    """Write an image as `write_image` does, whose rows come one after another.

    PNG and TIFF are encoded while they come, in a thread of its own and in memory for a few of them. The encoders of
    the other formats take all rows at once, which are kept for them as they will be stored.

    Args:
        path: the new file.
        info: about the image.
        overwrite: replace an existing file.
        coding: what is chosen about lossy formats.

    Yields:
        What takes the rows, in their order. The file gets its name when the context ends well.

    Raises:
        DataError: as `write_image`; rows missing at the end are one, too.
    """
    path = Path(path)
    kind = _checked(path, info, overwrite=overwrite)
    before_computing()
    held = replace(info, dtype=_held(info.dtype, DEEPEST[kind]), metadata={**info.metadata, **_current_exif(info)})
    with _new_file(path, overwrite=overwrite) as file:
        rows = _Rows(path, kind, held, coding or Coding(), file)
        try:
            yield rows.write
            rows.finish()
        finally:
            rows.close()


def copy_image(source: Path, path: Path, *, overwrite: bool = False) -> None:
    """Copy a file byte for byte, whole or not at all.

    Raises:
        DataError: as `write_image`.
    """
    with _new_file(path, overwrite=overwrite) as file, source.open("rb") as content:
        shutil.copyfileobj(content, file)


def losses(info: ImageInfo, kind: Format) -> tuple[str, ...]:
    """Tell what a format cannot keep of an image, for people."""
    notes = []
    size, held = info.dtype.itemsize, 12 if kind == "avif" else 8 * DEEPEST[kind]
    given = info.storage.bits if info.storage.bits in (10, 12) else 8 * size
    if size > 1 and given > held:
        what = "floats were clipped to 0 to 1 and" if size == 4 else f"{given} bits were"
        notes.append(f"{what} rounded to {held} bits")
    if "iptc-data" in info.metadata and kind not in ("jpeg", "tiff"):
        notes.append("without IPTC data")
    if info.storage.resolution is not None and kind in ("webp", "avif"):
        notes.append("without the resolution")
    if kind != "png" and "icc-profile-data" not in info.metadata:
        notes += [f"without PNG's {name.decode()}" for name in meaningful_color(info.storage.png_chunks)]
    return tuple(notes)


class _Rows:
    """The rows of an image on their way into a file.

    Args:
        path: its name, for messages.
        kind: its format.
        info: about the image as it will be stored.
        coding: what is chosen about lossy formats.
        file: it, empty.
    """

    def __init__(self, path: Path, kind: Format, info: ImageInfo, coding: Coding, file: BinaryIO) -> None:
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
        coding = self._coding
        if self._kind in ROWWISE:
            self._save(to_vips(image))
        elif self._kind == "jpeg":
            self._file.write(encode_jpeg(image, coding.quality, coding.subsampling))
        elif self._kind == "webp":
            self._file.write(encode_webp(image, coding.number(image)))
        else:
            self._file.write(encode_avif(image, coding.number(image)))

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except pyvips.Error as error:
            raise DataError(f"{self._path}: cannot be written: {reason_of(error)}") from error
        except (ValueError, SystemError) as error:  # Pillow's encoders
            raise DataError(f"{self._path}: cannot be written as {self._kind.upper()}: {error}") from error


def _checked(path: Path, info: ImageInfo, *, overwrite: bool) -> Format:
    """Find what can be found wrong before anything is written."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: expected a file name that ends with {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise DataError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise _exists(path)
    if kind == "jpeg" and info.has_alpha:
        raise DataError(f"{path}: JPEG cannot hold the image's alpha channel; write PNG, WebP, TIFF or AVIF")
    if max(info.height, info.width) > LONGEST.get(kind, math.inf):
        wanted, got = f"at most {LONGEST[kind]:,} rows and columns", f"{info.width} x {info.height}"
        raise DataError(expected(f"{path}: cannot be written", expected=wanted, got=got, hint="write PNG or TIFF"))
    return kind


@contextlib.contextmanager
def _new_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole.

    Raises:
        DataError: it exists, or cannot be written; its cause is then the system's error.
    """
    try:
        with replacing(path, overwrite=overwrite) as temporary, temporary.open("r+b") as file:
            yield file
    except FileExistsError as error:  # since somebody looked
        raise _exists(path) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def _exists(path: Path) -> DataError:
    return DataError(
        f"{path}: exists already and is not overwritten; choose another name, or overwrite it (--overwrite)"
    )


def _current_exif(info: ImageInfo) -> dict[str, bytes]:
    found = info.metadata.get("exif-data")
    return {} if found is None else {"exif-data": exif.for_pixels(found, height=info.height, width=info.width)}


def _held(dtype: np.dtype[Any], deepest: int) -> np.dtype[Any]:
    """The deepest type of values that a format holds of those given."""
    return dtype if dtype.itemsize <= deepest else np.dtype(np.uint8 if deepest == 1 else np.uint16)


def _rounded(values: Array, deepest: int) -> Array:
    """Round to the deepest type that the format holds."""
    if values.dtype.itemsize <= deepest:
        return np.ascontiguousarray(values)
    dtype = torch.uint8 if deepest == 1 else torch.uint16
    rounded: Array = from_unit(to_unit(torch.from_numpy(np.ascontiguousarray(values))), dtype).numpy()
    return rounded
