"""EXIF data: brought up to date for pixels that were turned, enlarged or restored, without moving a byte.

    EXIF data = "Exif", two zero bytes, and a TIFF file without an image: directories of 12-byte entries

Cameras keep offsets into the data inside their own notes, so that data that are written anew, by whatever library,
lose them. Here single values are changed where they stand.

Source: Exif 2.32 (CIPA DC-008), section 4.6.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

HEADER = b"Exif\0\0"
ORIENTATION, EXIF_POINTER = 0x0112, 0x8769
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
    with contextlib.suppress(struct.error):  # they may end too early
        first = struct.unpack_from(f"{order}I", content, 4)[0]
        for position, tag in _entries(content, first, order):
            if tag == ORIENTATION:
                _put(content, position, UPRIGHT, order)
            elif tag in (*WIDTHS, *HEIGHTS):
                _put(content, position, width if tag in WIDTHS else height, order)
            elif tag == EXIF_POINTER:
                inner = struct.unpack_from(f"{order}I", content, position + 8)[0]
                for place, name in _entries(content, inner, order):
                    if name in (*WIDTHS, *HEIGHTS):
                        _put(content, place, width if name in WIDTHS else height, order)
        count = struct.unpack_from(f"{order}H", content, first)[0]
        struct.pack_into(f"{order}I", content, first + 2 + 12 * count, 0)  # the directory of the preview
    return data[: len(HEADER)] + bytes(content)


def _entries(content: bytearray, start: int, order: str) -> Iterator[tuple[int, int]]:
    """Where a directory's entries stand, and their tags."""
    for index in range(struct.unpack_from(f"{order}H", content, start)[0]):
        position = start + 2 + 12 * index
        yield position, struct.unpack_from(f"{order}H", content, position)[0]


def _put(content: bytearray, position: int, value: int, order: str) -> None:
    """Replace an entry's single number; a short one becomes a long one where the value needs it."""
    kind = SHORT if value < 2**16 else LONG
    struct.pack_into(f"{order}HI", content, position + 2, kind, 1)
    struct.pack_into(f"{order}{'HH' if kind == SHORT else 'I'}", content, position + 8, value, *[0] * (kind == SHORT))
