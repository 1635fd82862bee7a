"""Reading image files, from their headers alone or whole.

The format is told by the file's first bytes, never by its name, and only the four loaders below ever see a file.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from adair_core.data.image_file import Format, ImageFile
from adair_core.data.workers import before_computing
from adair_core.errors import DataError, expected

MAX_PIXELS = 2**28
"""Images of more pixels (16,384 x 16,384) are refused unless the caller raises the limit: a few hundred bytes can
claim to be an image that fills the memory."""

DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}
LOADERS: dict[Format, Any] = {
    "png": pyvips.Image.pngload,
    "jpeg": pyvips.Image.jpegload,
    "webp": pyvips.Image.webpload,
    "tiff": pyvips.Image.tiffload,
}
KEPT_METADATA = ("exif-", "icc-profile-data", "xmp-data", "iptc-data", "resolution-unit")
# The pixels are turned the right way up on reading, so the tag must go.
DROPPED_METADATA = ("exif-ifd0-Orientation",)
RGB_OR_GRAY = ("b-w", "srgb", "rgb", "rgb16", "grey16", "scrgb", "multiband", "matrix", "histogram")


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its image, without its pixels.

    Attributes:
        path: the file.
        format: by its content.
        height: rows, the right way up.
        width: columns.
        itemsize: bytes of a channel's value in `ImageFile.pixels`.
        colors: 1 (gray) or 3.
        has_alpha: has an alpha channel.
    """

    path: Path
    format: Format
    height: int
    width: int
    itemsize: int
    colors: int
    has_alpha: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of `ImageFile.pixels`."""
        return self.height, self.width, self.colors


def read_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read an image's size and kind; its pixels may still turn out to be damaged.

    Args:
        path: the file.
        max_pixels: see `MAX_PIXELS`.

    Raises:
        DataError: there is no such file, it is not an image, or one that is too large.
    """
    kind, image = _open(path, max_pixels)
    height, width = image.height, image.width
    if _orientation(image) >= 5:
        height, width = width, height
    itemsize = np.dtype(DTYPES[image.format]).itemsize
    colors = 1 if image.bands - image.hasalpha() == 1 else 3
    return ImageHeader(path, kind, height, width, itemsize, colors, bool(image.hasalpha()))


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Read an image: PNG, JPEG, WebP or TIFF; 8 or 16 bit or float; gray, RGB, palette or CMYK, with or without alpha.

    It is turned the right way up if its EXIF data say so. CMYK becomes sRGB, by the embedded profile where there is
    one, and of several pages or frames the first is read; `ImageFile.notes` tells. RGB and gray values are kept as they
    are, with their profile beside them.

    Args:
        path: the file.
        max_pixels: refuse images of more pixels; see `MAX_PIXELS`.

    Raises:
        DataError: the file is missing, no image, damaged, truncated, or too large; the message names it.
    """
    path = Path(path)
    kind, image = _open(path, max_pixels)
    before_computing()
    try:
        image, notes = _to_rgb_or_gray(image)
        if _orientation(image) != 1:
            image = image.copy_memory().autorot()  # a stream of rows cannot be turned
        values: npt.NDArray[Any] = image.numpy().reshape(image.height, image.width, image.bands)
    except pyvips.Error as error:
        raise DataError(f"{path}: damaged or truncated image: {reason_of(error)}") from error
    colors = 3 if image.bands >= 3 else 1
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if pages > 1:
        notes = (*notes, f"only the first of {pages} pages or frames is used")
    return ImageFile(
        pixels=np.require(values[..., :colors], requirements=["C", "W"]),
        alpha=np.require(values[..., colors], requirements=["C", "W"]) if image.bands > colors else None,
        format=kind,
        metadata={name: image.get(name) for name in image.get_fields() if _is_kept(name)},
        resolution=(image.xres, image.yres),
        notes=notes,
    )


def format_of(start: bytes) -> Format | None:
    """Tell the format from a file's first 12 bytes."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    return None


def _open(path: Path, max_pixels: int) -> tuple[Format, Any]:
    """Open a file lazily and check all that its header can tell."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(expected(str(path), expected="an image file", got="a folder or a device"))
        with path.open("rb") as stream:
            start = stream.read(12)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not start:
        raise DataError(f"{path}: the file is empty (0 bytes)")
    kind = format_of(start)
    if kind is None:
        raise DataError(f"{path}: expected a PNG, JPEG, WebP or TIFF image, got a file that begins with {start[:8]!r}")
    try:
        # Without `revalidate` libvips answers a second read of a changed file from its memory.
        image = LOADERS[kind](str(path), access="sequential", fail_on="error", revalidate=True)
    except pyvips.Error as error:
        reason = reason_of(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: a {kind.upper()} file that is damaged or of an unknown kind: {reason}") from error
    if image.width * image.height > max_pixels:
        got = f"{image.width} x {image.height} = {image.width * image.height:,}"
        raise DataError(expected(str(path), expected=f"at most {max_pixels:,} pixels", got=got))
    # libvips mixes up the planes of 16 bit floats where a TIFF stores each by itself, and does not tell them apart
    is_half = image.format == "float" and image.get_typeof("bits-per-sample") and image.get("bits-per-sample") == 16
    if image.format not in DTYPES or is_half:
        got = "16 bit floats" if is_half else f"values of libvips' type {image.format}"
        raise DataError(expected(str(path), expected="8 or 16 bit unsigned integers or 32 bit floats", got=got))
    colors = image.bands - image.hasalpha()
    allowed = (4,) if image.interpretation == "cmyk" else (1, 3)
    if image.interpretation not in (*RGB_OR_GRAY, "cmyk") or colors not in allowed:
        got = f"{image.bands} channels of {image.interpretation}"
        raise DataError(expected(str(path), expected="gray, RGB or CMYK, with or without alpha", got=got))
    return kind, image


def _to_rgb_or_gray(image: Any) -> tuple[Any, tuple[str, ...]]:
    """Convert CMYK to sRGB; leave RGB and gray of any kind alone."""
    if image.interpretation != "cmyk":
        return image, ()
    depth = 16 if image.format == "ushort" else 8
    image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth).copy()
    image.remove("icc-profile-data")  # it describes the values before the conversion
    return image, ("converted from CMYK to sRGB",)


def _orientation(image: Any) -> int:
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def _is_kept(name: str) -> bool:
    return name.startswith(KEPT_METADATA) and name not in DROPPED_METADATA


def reason_of(error: pyvips.Error) -> str:
    """Keep of libvips' report the lines that say what is wrong with the file."""
    lines = [" ".join(line.split()) for line in f"{error.message}\n{error.detail}".splitlines()]
    telling = [line for line in dict.fromkeys(lines) if line and not line.startswith("unable to ")]
    return "; ".join(telling[:2]) or "it cannot be decoded"
