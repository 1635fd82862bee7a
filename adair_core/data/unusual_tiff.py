"""TIFF files that libvips cannot read.

tifffile reads floats of 16 or 64 bits, YCbCr that is not compressed (as Pillow does from version 13 on), and gray and
RGB whose orientation is none that there is; Pillow reads CIELAB of 8 bits, and other YCbCr outside JPEG, which libvips
takes for RGB.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from PIL import Image, ImageCms, TiffImagePlugin

from adair_core.data.tiff_directory import Directory, number_in
from adair_core.errors import DataError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
ORIENTATION, FORMAT, PROFILE = 274, 339, 34675
IS_FLOAT, YCBCR, CIELAB = 3, 6, 8
BLACK_IS_ZERO, RGB = 1, 2
JPEG = (6, 7)
UPRIGHT, ORIENTATIONS = 1, range(1, 9)
UNCOMPRESSED, SUBSAMPLING = 1, 530

Reader = Callable[[Path], Any]


def unusual_reader(directory: Directory, page: int) -> tuple[Reader, str] | None:
    """Choose what reads a TIFF file that libvips cannot.

    Args:
        directory: of the page that is read.
        page: its number.

    Returns:
        From the file to libvips' image, and what that did to the values, for people; None: libvips reads it.
    """
    bits = number_in(directory, BITS, 1)
    if number_in(directory, FORMAT, 1) == IS_FLOAT and bits in (16, 64):
        kept = "became 32 bit ones" if bits == 16 else "were rounded to 32 bits"
        return (lambda path: _floats(path, directory, page)), f"{bits:.0f} bit floats {kept}"
    space = number_in(directory, PHOTOMETRIC, 1)
    if space == CIELAB and bits == 8:
        return (lambda path: _by_pillow(path, directory, page)), "converted from CIELAB to sRGB"
    compression = number_in(directory, COMPRESSION, UNCOMPRESSED)
    if space == YCBCR and bits == 8 and compression == UNCOMPRESSED and number_in(directory, SUBSAMPLING, 2) == 1:
        return (lambda path: _ycbcr(path, directory, page)), "converted from YCbCr to RGB"
    if space == YCBCR and compression not in JPEG:
        return (lambda path: _by_pillow(path, directory, page)), "converted from YCbCr to RGB"
    orientation = _orientation(directory)
    if orientation not in ORIENTATIONS and space in (BLACK_IS_ZERO, RGB) and bits in (8, 16):
        return (lambda path: _whole_numbers(path, directory, page)), f"orientation {orientation} was taken for upright"
    return None


def size_of(directory: Directory) -> tuple[int, int]:
    """Return height and width, before they are turned."""
    return int(number_in(directory, HEIGHT, 0)), int(number_in(directory, WIDTH, 0))


def _values(path: Path, number: int) -> Any:
    """Read ``(H, W, C)`` as stored."""
    import tifffile

    try:
        # What it thinks of the file's other tags is nothing to the user, who is told what was done.
        with _muted(tifffile.logger()), tifffile.TiffFile(path) as file:
            page = file.pages[number]
            values, axes = page.asarray(), page.axes
    except Exception as error:  # it raises what its decompressors raise
        raise DataError(f"{path}: the TIFF file is damaged or of an unknown kind: {error}") from error
    if axes not in ("YX", "YXS", "SYX") or values.size == 0:
        raise DataError(f"{path}: expected one image of rows and columns, got a TIFF file with axes {axes}")
    return np.moveaxis(values, 0, -1) if axes == "SYX" else values.reshape(*values.shape[:2], -1)


@contextmanager
def _muted(log: logging.Logger) -> Iterator[None]:
    was, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was


def _ycbcr(path: Path, directory: Directory, number: int) -> Any:
    values = np.ascontiguousarray(_values(path, number))
    if values.shape[2] != 3:
        raise DataError(f"{path}: expected three channels of YCbCr, got {values.shape[2]}")
    rgb = Image.frombytes("YCbCr", (values.shape[1], values.shape[0]), values.tobytes()).convert("RGB")
    return _converted(rgb, directory)


def _floats(path: Path, directory: Directory, number: int) -> Any:
    values = _values(path, number)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        image = pyvips.Image.new_from_array(np.ascontiguousarray(values, dtype=np.float32))
    return _described(image.copy(interpretation="b-w" if image.bands < 3 else "scrgb"), directory, has_its_values=True)


def _whole_numbers(path: Path, directory: Directory, number: int) -> Any:
    values = np.ascontiguousarray(_values(path, number))
    spaces = ("b-w", "srgb") if values.dtype == np.uint8 else ("grey16", "rgb16")
    image = pyvips.Image.new_from_array(values).copy(interpretation=spaces[values.shape[2] >= 3])
    return _described(image, directory, has_its_values=True)


def _by_pillow(path: Path, directory: Directory, number: int) -> Any:
    try:
        with TiffImagePlugin.TiffImageFile(str(path)) as image:
            image.seek(number)
            if image.mode == "LAB":
                lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
                assert converted is not None
            else:
                converted = image.convert("RGB")
    except (OSError, EOFError, ValueError, SyntaxError, UserWarning, ImageCms.PyCMSError) as error:
        raise DataError(f"{path}: the TIFF file is damaged or of an unknown kind: {error}") from error
    return _converted(converted, directory)


def _converted(rgb: Image.Image, directory: Directory) -> Any:
    image = pyvips.Image.new_from_array(np.asarray(rgb)).copy(interpretation="srgb")
    return _described(image, directory, has_its_values=False)


def _orientation(directory: Directory) -> int:
    """As the file has it: one of the eight, or another number."""
    return int(number_in(directory, ORIENTATION, UPRIGHT))


def _described(image: Any, directory: Directory, *, has_its_values: bool) -> Any:
    """Add what libvips would have read: how to turn the image and, if the file's values are kept, their profile."""
    orientation = _orientation(directory)
    known = orientation if orientation in ORIENTATIONS else UPRIGHT
    image.set_type(pyvips.GValue.gint_type, "orientation", known)
    if PROFILE in directory and has_its_values:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", directory[PROFILE].data)
    return image
