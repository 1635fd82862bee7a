"""Which format a file has: told by its first bytes, never by its name."""

from __future__ import annotations

import stat
from pathlib import Path

from adair_core.data.image_file import Format
from adair_core.errors import DataError, expected

FOREIGN = {
    b"BM": "BMP",
    b"\0\0\1\0": "ICO",
    b"P5": "Netpbm (PGM)",
    b"P6": "Netpbm (PPM)",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"v/1\x01": "OpenEXR",
}
"""Beginnings of images that are not read."""


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


def format_in(path: Path) -> Format:
    """Tell the format of a file.

    Raises:
        DataError: there is no such file, it cannot be read, or its format is none of those that are.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(expected(str(path), expected="an image file", got="a folder or a device"))
        with path.open("rb") as stream:
            start = stream.read(12)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise DataError(f"{path}: a symbolic link to {path.readlink()}, which is not there") from error
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not start:
        raise DataError(f"{path}: the file is empty (0 bytes)")
    kind = format_of(start)
    if kind is None:
        foreign = _foreign(start)
        got = f"{foreign}; convert it first" if foreign else f"a file that begins with {start[:8]!r}"
        raise DataError(expected(str(path), expected="a PNG, JPEG, WebP, TIFF, AVIF or GIF image", got=got))
    return kind


def _foreign(start: bytes) -> str | None:
    """Name a format that is not read, if its beginning is a known one."""
    if start[4:8] == b"ftyp":
        is_heif = start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc")
        return "HEIC" if is_heif else "video or ISO media"
    return next((name for beginning, name in FOREIGN.items() if start.startswith(beginning)), None)
