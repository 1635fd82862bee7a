"""EXIF data: brought up to date for pixels that were turned, enlarged or restored, without moving a byte.

    EXIF data = "Exif", two zero bytes, and a TIFF file without an image: directories of 12-byte entries

Cameras keep offsets into the data inside their own notes, so that data that are written anew, by whatever library,
lose them. Here single values are changed where they stand.

Source: Exif 2.32 (CIPA DC-008), section 4.6.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping

HEADER = b"Exif\0\0"
ORIENTATION, INNER = 0x0112, 0x8769
WIDTHS, HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
"""In the first directory, where Android's cameras put them too, and in the inner one."""
SHORT, LONG = 3, 4
UPRIGHT = 1


def normalized(data: bytes) -> bytes:
    """Return EXIF data with the header that not every format stores."""
    return data if data.startswith(HEADER) else HEADER + data


def for_pixels(data: bytes, *, height: int, width: int) -> bytes:
    """Say in EXIF data that the pixels are the right way up and how many there are, and leave the preview out.

    The preview shows the picture as it was. What cannot be understood stays as it is.

    Args:
        data: with its header.
        height: rows.
        width: columns.
    """
    content = bytearray(data[len(HEADER) :])
    order = {b"II": "<", b"MM": ">"}.get(bytes(content[:2]))
    if order is None:
        return data
    values = {ORIENTATION: UPRIGHT, **dict.fromkeys(WIDTHS, width), **dict.fromkeys(HEIGHTS, height)}
    with contextlib.suppress(struct.error):  # they may end too early
        first = _number(content, 4, order)
        inner = _update(content, first, values, order)
        count = struct.unpack_from(f"{order}H", content, first)[0]
        struct.pack_into(f"{order}I", content, first + 2 + 12 * count, 0)  # the directory of the preview
        if inner is not None:
            _update(content, inner, values, order)
    return data[: len(HEADER)] + bytes(content)


def blank(size: int) -> bytes:
    """EXIF data that say nothing: a user's comment of `size` zero bytes, and what leads there."""
    comment, undefined, long = 0x9286, 7, 4
    directories = [(INNER, long, 1, 26), (comment, undefined, size, 44)]  # 26 and 44 are where the next begins
    entries = b"".join(struct.pack("<HHHIII", 1, *entry, 0) for entry in directories)
    return HEADER + b"II*\0" + struct.pack("<I", 8) + entries + bytes(size)


def _number(content: bytearray, place: int, order: str) -> int:
    return int(struct.unpack_from(f"{order}I", content, place)[0])


def _update(content: bytearray, start: int, values: Mapping[int, int], order: str) -> int | None:
    """Put values into the entries of their tags in a directory, and tell where the inner directory is."""
    inner = None
    for index in range(struct.unpack_from(f"{order}H", content, start)[0]):
        position = start + 2 + 12 * index
        tag = struct.unpack_from(f"{order}H", content, position)[0]
        if tag in values:
            _put(content, position, values[tag], order)
        elif tag == INNER:
            inner = _number(content, position + 8, order)
    return inner


def _put(content: bytearray, position: int, value: int, order: str) -> None:
    """Replace an entry's single number; a short one becomes a long one where the value needs it."""
    kind = SHORT if value < 2**16 else LONG
    struct.pack_into(f"{order}HI", content, position + 2, kind, 1)
    struct.pack_into(f"{order}{'HH' if kind == SHORT else 'I'}", content, position + 8, value, *[0] * (kind == SHORT))
