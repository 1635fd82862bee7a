"""How a file stores its image, beside the pixels: what a result of the same format should keep.

Compression, quantisation tables, resolution and the like are read from the headers, because libvips either does not
tell them or makes up what the file does not say (72 dpi).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adair_core.data import jpeg_header
from adair_core.data.image_file import Format, Storage, TiffCompression
from adair_core.data.jpeg_end import bytes_after_picture
from adair_core.data.jpeg_header import read_jpeg_header
from adair_core.data.png_chunks import read_chunks
from adair_core.data.tiff_directory import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Place, number_in, read_directory

PHYS_UNIT_METRE = 1
MM_PER_INCH = 25.4

TIFF_COMPRESSIONS: Mapping[int, TiffCompression] = {
    1: "none",
    5: "lzw",
    8: "deflate",
    32946: "deflate",
    32773: "packbits",
}
"""TIFF's lossless compressions that keep any image; what has another (JPEG, fax) is written with deflate."""

TIFF_LOSSY = (6, 7)
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, EXTRA_SAMPLES = 258, 259, 262, 338
PALETTE = 3
UNSPECIFIED, PREMULTIPLIED = 0, 1
UNIT_INCH, UNIT_CENTIMETRE = 2, 3


@dataclass
class _Found:
    """What a header said, while it is read."""

    fields: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_storage(path: Path, kind: Format, image: Any, *, page: Place | None = None) -> tuple[Storage, tuple[str, ...]]:
    """Read how a file stores its image.

    Args:
        path: the file.
        kind: its format.
        image: it, opened by libvips.
        page: of a TIFF, where its directory is; None = the first, and others are told.

    Returns:
        How, and what the pixels cannot keep of it, for people. A header that is damaged in a place that the pixels do
        not need counts as one that does not say.
    """
    found = _Found()
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if kind == "png":
        _of_png(path, found)
    elif kind == "jpeg":
        _of_jpeg(path, found)
    elif kind == "tiff":
        _of_tiff(path, found, page, has_alpha=bool(image.hasalpha()))
    elif kind == "webp":
        found.fields["lossless"] = _is_lossless_webp(path)
    elif kind == "avif":
        found.fields["lossless"] = False  # nearly all are lossy, and the file does not say
        if _brand(path) == b"avis":
            found.notes.append("only the first frame of an animation is used")
    if image.get_typeof("bits-per-sample"):
        found.fields["bits"] = image.get("bits-per-sample")
    if kind in ("png", "gif") and image.get_typeof("palette"):
        found.notes.append("palette became full colour")
    elif kind == "png" and found.fields.get("bits") == 1:
        found.notes.append("1 bit became 8 bit gray")
    if pages > 1 and page is None:
        found.notes.append(f"only the first of {pages} pages or frames is used")
    if image.get_typeof("n-subifds"):
        found.notes.append(f"{image.get('n-subifds')} smaller or further images below it are left out")
    return Storage(**found.fields), tuple(found.notes)


def _of_png(path: Path, found: _Found) -> None:
    chunks = read_chunks(path)
    by_name = {chunk.name: chunk.content for chunk in chunks}
    frames = int.from_bytes(by_name.get(b"acTL", b"")[:4], "big")
    if frames > 1:
        found.notes.append(f"only the first of {frames} pages or frames is used")
    physical = by_name.get(b"pHYs", b"")
    if len(physical) == 9 and physical[8] == PHYS_UNIT_METRE:
        across, down = int.from_bytes(physical[:4], "big"), int.from_bytes(physical[4:8], "big")
        found.fields["resolution"] = (across / 1000, down / 1000)
    found.fields["png_chunks"] = tuple(chunk for chunk in chunks if chunk.is_kept)


def _of_jpeg(path: Path, found: _Found) -> None:
    header = read_jpeg_header(path)
    if header.density is not None:
        across, down, unit = header.density
        per_mm = MM_PER_INCH if unit == jpeg_header.UNIT_INCH else 10.0
        found.fields["resolution"] = (across / per_mm, down / per_mm)
    found.fields |= {
        "lossless": False,
        "jpeg_tables": header.tables,
        "subsampling": header.subsampling,
        "is_progressive": header.is_progressive,
        "jpeg_comment": header.comment,
    }
    after = bytes_after_picture(path)
    if after:
        found.notes.append(f"{after:,} bytes after the picture (such as further pictures or a video) are left out")


def _of_tiff(path: Path, found: _Found, page: Place | None, *, has_alpha: bool) -> None:
    directory = read_directory(path, page)
    compression = int(number_in(directory, COMPRESSION, 1))
    across, down = (number_in(directory, tag, 0) for tag in (X_RESOLUTION, Y_RESOLUTION))
    unit = number_in(directory, RESOLUTION_UNIT, UNIT_INCH)
    if min(across, down) > 0 and unit in (UNIT_INCH, UNIT_CENTIMETRE):
        per_mm = MM_PER_INCH if unit == UNIT_INCH else 10.0
        found.fields["resolution"] = (across / per_mm, down / per_mm)
    found.fields |= {
        "tiff_compression": TIFF_COMPRESSIONS.get(compression, "deflate"),
        "lossless": compression not in TIFF_LOSSY,
    }
    if number_in(directory, PHOTOMETRIC, 1) == PALETTE:
        found.notes.append("palette became full colour")
    elif number_in(directory, BITS_PER_SAMPLE, 1) == 1:
        found.notes.append("1 bit became 8 bit gray")
    extra = number_in(directory, EXTRA_SAMPLES, UNSPECIFIED)
    if extra == PREMULTIPLIED:  # libvips divides
        found.notes.append("premultiplied alpha became straight")
    elif extra == UNSPECIFIED and has_alpha:
        found.notes.append("the last channel, whose meaning is not stated, counts as alpha")


def _is_lossless_webp(path: Path) -> bool:
    """Tell by the first frame's chunk: ``VP8L`` is lossless, ``VP8 `` is not."""
    with path.open("rb") as stream:
        stream.seek(12)
        while len(head := stream.read(8)) == 8:
            name, length = head[:4], int.from_bytes(head[4:], "little")
            if name in (b"VP8L", b"VP8 "):
                return name == b"VP8L"
            # A frame of an animation holds its chunks after 16 bytes of its own.
            stream.seek(16 if name == b"ANMF" else length + length % 2, os.SEEK_CUR)
    return False


def _brand(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(12)[8:]
