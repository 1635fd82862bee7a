"""Reading image files, from their headers alone or whole.

The format is told by the file's first bytes, never by its name, and only the loaders below ever see a file.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from adair_core.data import exif
from adair_core.data.image_file import Format, ImageFile
from adair_core.data.storage import read_storage
from adair_core.data.tiff_directory import exif_of, read_directory
from adair_core.data.unusual_tiff import size_of, unusual_reader
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
    "avif": pyvips.Image.heifload,
    "gif": pyvips.Image.gifload,
}
METADATA = ("exif-data", "icc-profile-data", "xmp-data", "iptc-data")
FOREIGN = {
    b"BM": "BMP",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"v/1\x01": "OpenEXR",
}
"""Beginnings of images that are not read."""
UNREAD_VALUES = {
    "char": "8 bit signed integers",
    "short": "16 bit signed integers",
    "int": "32 bit signed integers",
    "uint": "32 bit unsigned integers",
    "complex": "complex numbers",
    "dpcomplex": "complex numbers",
}
RGB_OR_GRAY = ("b-w", "srgb", "rgb", "rgb16", "grey16", "scrgb", "multiband", "matrix", "histogram")
LAB = ("lab", "labs")


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
    kind, image, _ = _open(path, max_pixels)
    height, width = image.height, image.width
    if _orientation(image) >= 5:
        height, width = width, height
    itemsize = np.dtype(DTYPES.get(image.format, "u2")).itemsize
    colors = 1 if image.bands - image.hasalpha() == 1 else 3
    return ImageHeader(path, kind, height, width, itemsize, colors, bool(image.hasalpha()))


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Read an image: PNG, JPEG, WebP, TIFF, AVIF or GIF; 8 or 16 bit or float; gray, RGB, palette, CMYK or CIELAB.

    It is turned the right way up if its EXIF data say so. CMYK becomes sRGB, by the embedded profile where there is
    one, so does CIELAB; palettes become RGB, and of several pages or frames the first is read: `ImageFile.notes` tells.
    RGB and gray values are kept as they are, with their profile beside them.

    Args:
        path: the file.
        max_pixels: refuse images of more pixels; see `MAX_PIXELS`.

    Raises:
        DataError: the file is missing, no image, damaged, truncated, or too large; the message names it.
    """
    path = Path(path)
    kind, image, opened = _open(path, max_pixels)
    before_computing()
    storage, stored = read_storage(path, kind, image)
    try:
        image, converted = _to_rgb_or_gray(image)
        if _orientation(image) != 1:
            image = image.copy_memory().autorot()  # a stream of rows cannot be turned
        values: npt.NDArray[Any] = image.numpy().reshape(image.height, image.width, image.bands)
    except pyvips.Error as error:
        raise DataError(f"{path}: damaged or truncated image: {reason_of(error)}") from error
    if kind == "avif" and values.dtype == np.uint16 and storage.bits in (10, 12):
        values = _widened(values, storage.bits)
    colors = 3 if image.bands >= 3 else 1
    metadata = {name: bytes(image.get(name)) for name in METADATA if image.get_typeof(name)}
    about = exif_of(read_directory(path)) if kind == "tiff" else metadata.get("exif-data")
    if about is not None:
        metadata["exif-data"] = exif.normalized(about)
    return ImageFile(
        pixels=np.require(values[..., :colors], requirements=["C", "W"]),
        alpha=np.require(values[..., colors], requirements=["C", "W"]) if image.bands > colors else None,
        format=kind,
        metadata=metadata,
        storage=storage,
        notes=(*opened, *converted, *stored),
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
    if start[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    return None


def _open(path: Path, max_pixels: int) -> tuple[Format, Any, tuple[str, ...]]:
    """Open a file lazily, check all that its header can tell, and tell what opening it converted."""
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
        foreign = _foreign(start)
        got = f"a {foreign} file; convert it first" if foreign else f"a file that begins with {start[:8]!r}"
        raise DataError(expected(str(path), expected="a PNG, JPEG, WebP, TIFF, AVIF or GIF image", got=got))
    image, notes = _loaded(path, kind, max_pixels)
    _check_size(path, image.height, image.width, max_pixels)
    if image.format not in DTYPES and image.interpretation not in LAB:
        got = UNREAD_VALUES.get(image.format, f"values of libvips' type {image.format}")
        raise DataError(expected(str(path), expected="8 or 16 bit unsigned integers or floats", got=got))
    colors = image.bands - image.hasalpha()
    allowed = {"cmyk": (4,), "lab": (3,), "labs": (3,)}.get(image.interpretation, (1, 3))
    if image.interpretation not in (*RGB_OR_GRAY, "cmyk", *LAB) or colors not in allowed:
        got = f"{image.bands} channels of {image.interpretation}"
        raise DataError(expected(str(path), expected="gray, RGB, CMYK or CIELAB, with or without alpha", got=got))
    return kind, image, notes


def _loaded(path: Path, kind: Format, max_pixels: int) -> tuple[Any, tuple[str, ...]]:
    if kind == "tiff":
        directory = read_directory(path)
        unusual = unusual_reader(directory)
        if unusual is not None:
            _check_size(path, *size_of(directory), max_pixels)
            return unusual[0](path), unusual[1:]
    try:
        # What an earlier file left in libvips' one buffer of messages would be read as this file's.
        pyvips.vips_lib.vips_error_clear()
        # Without `revalidate` libvips answers a second read of a changed file from its memory.
        return LOADERS[kind](str(path), access="sequential", fail_on="error", revalidate=True), ()
    except pyvips.Error as error:
        reason = reason_of(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: a {kind.upper()} file that is damaged or of an unknown kind: {reason}") from error


def _check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        got = f"{width} x {height} = {width * height:,}"
        raise DataError(expected(str(path), expected=f"at most {max_pixels:,} pixels", got=got))


def _foreign(start: bytes) -> str | None:
    """Name a format that is not read, if its beginning is a known one."""
    if start[4:8] == b"ftyp":
        is_heif = start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc")
        return "HEIC" if is_heif else "video or ISO media"
    return next((name for beginning, name in FOREIGN.items() if start.startswith(beginning)), None)


def _widened(values: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """Scale values that stand in the upper bits of 16, so that the lightest is 65535."""
    top = 2**bits - 1
    scaled = (values.astype(np.uint32) >> (16 - bits)) * 65535 + top // 2
    widened: npt.NDArray[Any] = (scaled // top).astype(np.uint16)
    return widened


def _to_rgb_or_gray(image: Any) -> tuple[Any, tuple[str, ...]]:
    """Convert CMYK and CIELAB to sRGB; leave RGB and gray of any kind alone."""
    if image.interpretation in LAB:
        depth = "rgb16" if image.interpretation == "labs" else "srgb"
        return image.colourspace(depth), ("converted from CIELAB to sRGB",)
    if image.interpretation != "cmyk":
        return image, ()
    bits = 16 if image.format == "ushort" else 8
    image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=bits).copy()
    image.remove("icc-profile-data")  # it describes the values before the conversion
    return image, ("converted from CMYK to sRGB",)


def _orientation(image: Any) -> int:
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def reason_of(error: pyvips.Error) -> str:
    """Keep of libvips' report the lines that say what is wrong with the file."""
    lines = [" ".join(line.split()) for line in f"{error.message}\n{error.detail}".splitlines()]
    telling = [line for line in dict.fromkeys(lines) if line and not line.startswith("unable to ")]
    return "; ".join(telling[:2]) or "it cannot be decoded"
