"""Writing image files, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyvips
import torch

from adair_core.atomic_file import replacing
from adair_core.data import exif
from adair_core.data.decoding import reason_of
from adair_core.data.encoders import JPEG_QUALITY, encode_avif, encode_jpeg, encode_png, encode_tiff, encode_webp
from adair_core.data.image_file import SUFFIXES, Format, ImageFile, Subsampling
from adair_core.data.pixels import Array, from_unit, to_unit
from adair_core.data.png_chunks import meaningful_color
from adair_core.data.workers import before_computing
from adair_core.errors import DataError, UsageError, expected

__all__ = ["JPEG_QUALITY", "Coding", "Quality", "write_image"]

Quality = int | Literal["keep"] | None

DEEPEST: Mapping[Format, int] = {"png": 2, "jpeg": 1, "webp": 1, "tiff": 4, "avif": 2}
"""Bytes of the largest values that a format holds."""


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
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: expected a file name that ends with {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise DataError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise _exists(path)
    write_bytes(path, encoded(path, image, coding), overwrite=overwrite)


def losses(image: ImageFile, kind: Format) -> tuple[str, ...]:
    """Tell what a format cannot keep of an image, for people."""
    notes = []
    size, held = image.pixels.dtype.itemsize, 12 if kind == "avif" else 8 * DEEPEST[kind]
    given = image.storage.bits if image.storage.bits in (10, 12) else 8 * size
    if size > 1 and given > held:
        what = "floats were clipped to 0 to 1 and" if size == 4 else f"{given} bits were"
        notes.append(f"{what} rounded to {held} bits")
    if "iptc-data" in image.metadata and kind not in ("jpeg", "tiff"):
        notes.append("without IPTC data")
    if image.storage.resolution is not None and kind in ("webp", "avif"):
        notes.append("without the resolution")
    if kind != "png" and "icc-profile-data" not in image.metadata:
        notes += [f"without PNG's {name.decode()}" for name in meaningful_color(image.storage.png_chunks)]
    return tuple(notes)


def encoded(path: Path, image: ImageFile, coding: Coding | None = None) -> bytes:
    """Encode an image for a file of that name, without writing it.

    Raises:
        DataError: the format cannot hold the image.
    """
    kind, coding = SUFFIXES[path.suffix.lower()], coding or Coding()
    if kind == "jpeg" and image.alpha is not None:
        raise DataError(f"{path}: JPEG cannot hold the image's alpha channel; write PNG, WebP, TIFF or AVIF")
    before_computing()
    deepest = DEEPEST[kind]
    fitting = replace(
        image,
        pixels=_rounded(image.pixels, deepest),
        alpha=None if image.alpha is None else _rounded(image.alpha, deepest),
        metadata={**image.metadata, **_current_exif(image)},
    )
    encoders: dict[Format, Callable[[], bytes]] = {
        "png": lambda: encode_png(fitting),
        "jpeg": lambda: encode_jpeg(fitting, coding.quality, coding.subsampling),
        "webp": lambda: encode_webp(fitting, coding.number(image)),
        "avif": lambda: encode_avif(fitting, coding.number(image)),
        "tiff": lambda: encode_tiff(fitting),
    }
    try:
        return encoders[kind]()
    except pyvips.Error as error:
        raise DataError(f"{path}: cannot be written: {reason_of(error)}") from error
    except (OSError, ValueError, SystemError) as error:  # Pillow's encoders
        raise DataError(f"{path}: cannot be written as {kind.upper()}: {error}") from error


def write_bytes(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write a file, whole or not at all.

    Raises:
        DataError: it exists, or cannot be written; its cause is then the system's error.
    """
    try:
        with replacing(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(content)
    except FileExistsError as error:  # since somebody looked
        raise _exists(path) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def _exists(path: Path) -> DataError:
    return DataError(
        f"{path}: exists already and is not overwritten; choose another name, or overwrite it (--overwrite)"
    )


def _current_exif(image: ImageFile) -> dict[str, bytes]:
    found = image.metadata.get("exif-data")
    return {} if found is None else {"exif-data": exif.for_pixels(found, height=image.height, width=image.width)}


def _rounded(values: Array, deepest: int) -> Array:
    """Round to the deepest type that the format holds."""
    if values.dtype.itemsize <= deepest:
        return np.ascontiguousarray(values)
    dtype = torch.uint8 if deepest == 1 else torch.uint16
    rounded: Array = from_unit(to_unit(torch.from_numpy(np.ascontiguousarray(values))), dtype).numpy()
    return rounded
