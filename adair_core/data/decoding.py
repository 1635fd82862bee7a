"""Reading image files, from their headers alone or whole.

Only the loader of the format that a file has by its content (`adair_core.data.format`) ever sees it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from adair_core.data import exif, iptc, xmp
from adair_core.data.file_rows import UNDECODABLE, FileRows, damage_told, reason_of
from adair_core.data.format import format_in
from adair_core.data.image_file import ORIENTED, Format, ImageFile, ImageInfo
from adair_core.data.storage import read_storage
from adair_core.data.tiff_directory import Place, exif_of, read_directory
from adair_core.data.unusual_tiff import size_of, unusual_reader
from adair_core.data.workers import before_computing
from adair_core.errors import DataError, expected

MAX_PIXELS = 2**28
"""Images of more pixels (16,384 x 16,384) are refused unless the caller raises the limit: a few hundred bytes can
claim to be an image that fills the memory."""

MAX_ROWWISE_PIXELS = 2**32
"""The same for images that are read row by row, whose size costs time alone."""

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
IN_DIRECTORIES = {"xmp-data": 700, "iptc-data": iptc.TIFF_TAG}
"""Metadata of TIFF that are read here, as not all TIFF files are read by libvips."""
UNREAD_VALUES = {
    "char": "8 bit signed integers",
    "short": "16 bit signed integers",
    "int": "32 bit signed integers",
    "uint": "32 bit unsigned integers",
    "complex": "complex numbers",
    "dpcomplex": "complex numbers",
}
GRAY = ("b-w", "grey16")
RGB_OR_GRAY = (*GRAY, "srgb", "rgb", "rgb16", "scrgb", "multiband", "matrix", "histogram")
LAB = ("lab", "labs")
COLORS = {"cmyk": (4,), "lab": (3,), "labs": (3,), "b-w": (1,), "grey16": (1,)}
"""Numbers of channels beside alpha; (1, 3) for all others."""


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


@dataclass(frozen=True)
class _Limits:
    """Pixels of the largest image that is taken.

    Attributes:
        whole: if decoding holds all of it.
        rowwise: if decoding holds a few rows.
    """

    whole: int
    rowwise: int


def read_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read an image's size and kind; its pixels may still turn out to be damaged.

    Args:
        path: the file.
        max_pixels: see `MAX_PIXELS`.

    Raises:
        DataError: there is no such file, it is not an image, or one that is too large.
    """
    kind, image, _ = _open(path, _Limits(max_pixels, max_pixels))
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
    return _opened(Path(path), _Limits(max_pixels, max_pixels)).whole()


def open_image(path: Path | str, *, page: Place | None = None) -> FileRows:
    """Open an image whose rows are read one after another, in memory for those alone, as far as its format allows.

    TIFF, PNG and JPEG are decoded so. Interlaced PNG, progressive JPEG, WebP, AVIF, GIF and what libvips cannot read
    are in memory as a whole. An image that has to be turned the right way up is decoded into a temporary file first, if
    it takes more than 100 MB (libvips does that).

    Args:
        path: the file; images of up to `MAX_ROWWISE_PIXELS` pixels are taken, where decoding holds rows alone.
        page: of a TIFF, where the page's directory is; None = the first, and of several that is noted.

    Returns:
        The image, of which only the header is read; `FileRows.whole` gives what `read_image` does.

    Raises:
        DataError: as `read_image`, as far as the header tells.
    """
    return _opened(Path(path), _Limits(MAX_PIXELS, MAX_ROWWISE_PIXELS), page)


def _opened(path: Path, limits: _Limits, page: Place | None = None) -> FileRows:
    kind, first, opened = _open(path, limits, page)
    before_computing()
    storage, stored = read_storage(path, kind, first, page=page)
    is_turned = _orientation(first) != 1

    def prepared(image: Any) -> tuple[Any, tuple[str, ...]]:
        image, converted = _to_rgb_or_gray(image)
        return (image.autorot() if is_turned else image), converted

    def again() -> Any:
        # A stream of rows cannot be turned.
        return prepared(_loaded(path, kind, limits, page, access="random" if is_turned else "sequential")[0])[0]

    with damage_told(path):
        if is_turned and first.get_typeof("vips-sequential"):
            first = _loaded(path, kind, limits, page, access="random")[0]
        image, converted = prepared(first)
    metadata = {name: bytes(image.get(name)) for name in METADATA if image.get_typeof(name)}
    if kind == "tiff":
        directory = read_directory(path, page)
        about = exif_of(directory)
        metadata |= {name: directory[tag].data for name, tag in IN_DIRECTORIES.items() if tag in directory}
        if "iptc-data" in metadata:
            metadata["iptc-data"] = iptc.in_order(metadata["iptc-data"])
    else:
        about = metadata.get("exif-data")
    if about is not None:
        metadata["exif-data"] = exif.normalized(about)
    if "xmp-data" in metadata and (kind in ORIENTED or first.get_typeof("orientation")):
        metadata["xmp-data"] = xmp.upright(metadata["xmp-data"])
    colors, dtype = 3 if image.bands >= 3 else 1, np.dtype(DTYPES[image.format])
    info = ImageInfo(
        height=image.height,
        width=image.width,
        colors=colors,
        has_alpha=image.bands > colors,
        dtype=dtype,
        format=kind,
        metadata=metadata,
        storage=storage,
        notes=(*opened, *converted, *stored),
    )
    bits = storage.bits or 0
    if kind == "avif" and dtype == np.uint16 and bits in (10, 12):
        return FileRows(path, info, image, again, lambda values: _widened(values, bits))
    return FileRows(path, info, image, again)


def _open(path: Path, limits: _Limits, page: Place | None = None) -> tuple[Format, Any, tuple[str, ...]]:
    """Open a file lazily, check all that its header can tell, and tell what opening it converted."""
    kind = format_in(path)
    image, notes = _loaded(path, kind, limits, page)
    limit = limits.rowwise if _is_rowwise(kind, image) else limits.whole
    _check_size(path, image.height, image.width, limit)
    if image.format not in DTYPES and image.interpretation not in LAB:
        got = UNREAD_VALUES.get(image.format, f"values of libvips' type {image.format}")
        raise DataError(expected(str(path), expected="8 or 16 bit unsigned integers or floats", got=got))
    colors = image.bands - image.hasalpha()
    allowed = COLORS.get(image.interpretation, (1, 3))
    if image.interpretation not in (*RGB_OR_GRAY, "cmyk", *LAB) or colors not in allowed:
        got = f"{image.bands} channels of {'gray' if image.interpretation in GRAY else image.interpretation}"
        raise DataError(expected(str(path), expected="gray, RGB, CMYK or CIELAB, with or without alpha", got=got))
    return kind, image, notes


def _loaded(
    path: Path, kind: Format, limits: _Limits, page: Place | None, *, access: str = "sequential"
) -> tuple[Any, tuple[str, ...]]:
    if kind == "tiff":
        directory = read_directory(path, page)
        unusual = unusual_reader(directory, 0 if page is None else page.number)
        if unusual is not None:
            _check_size(path, *size_of(directory), limits.whole)
            return unusual[0](path), unusual[1:]

    def load(fail_on: str) -> Any:
        # Bytes, as names need not be UTF-8. Without `revalidate` libvips answers a second read of a changed file from
        # its memory.
        which = {"page": page.number} if page is not None and kind == "tiff" else {}
        return LOADERS[kind](os.fsencode(path), access=access, fail_on=fail_on, revalidate=True, **which)

    try:
        # What an earlier file left in libvips' one buffer of messages would be read as this file's.
        pyvips.vips_lib.vips_error_clear()
        image = load("error")
        # Among pixels a JPEG's warnings are damage, which would become blocks of gray; in its header they are oddities.
        if kind == "jpeg" and not pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()):
            image = load("warning")
    except UNDECODABLE as error:
        reason = reason_of(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: the {kind.upper()} file is damaged or of an unknown kind: {reason}") from error
    return image, ()


def _is_rowwise(kind: Format, image: Any) -> bool:
    """Tell whether an image is decoded row by row, so that its size takes no memory."""
    is_streamed = bool(image.get_typeof("vips-sequential")) and not image.get_typeof("interlaced")
    return kind in ("png", "jpeg", "tiff") and is_streamed


def _check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        got = f"{width} x {height} = {width * height:,}"
        raise DataError(expected(str(path), expected=f"at most {max_pixels:,} pixels", got=got))


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
