"""What a JPEG's header says about how it was encoded: tables, subsampling, order and resolution.

    file = segments before the pixels; segment = FF, marker, length (2 bytes, itself included), content

Source: ITU-T T.81, annex B (DQT in B.2.4.1, frame header in B.2.2, zigzag order in figure 5); JFIF 1.02 for APP0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from adair_core.data.image_file import Subsampling

JFIF, TABLES, SCAN, END, COMMENT = 0xE0, 0xDB, 0xDA, 0xD9, 0xFE
FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
PROGRESSIVE = (0xC2, 0xCA)
UNIT_INCH, UNIT_CENTIMETRE = 1, 2

SUBSAMPLINGS: Mapping[tuple[int, int], Subsampling] = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
"""How many times more samples brightness has than colour, across and down."""


def _zigzag(place: int) -> tuple[int, int]:
    """Order of a place in an 8 x 8 block: by diagonals, every other one upwards."""
    row, column = divmod(place, 8)
    return row + column, row if (row + column) % 2 else column


ZIGZAG = sorted(range(64), key=_zigzag)
"""Where in a block, row by row, the numbers of a table belong."""


@dataclass(frozen=True)
class JpegHeader:
    """What was found.

    Attributes:
        tables: quantisation tables by number, row by row.
        subsampling: None for gray and for kinds without a usual name.
        is_progressive: as it says.
        density: dots per inch or centimetre across and down, with the unit; None if they only give a shape.
        comment: the first one.
    """

    tables: tuple[tuple[int, ...], ...] = ()
    subsampling: Subsampling | None = None
    is_progressive: bool = False
    density: tuple[int, int, int] | None = None
    comment: bytes = b""


def read_jpeg_header(path: Path) -> JpegHeader:
    """Read a JPEG's header, as far as it makes sense."""
    tables: dict[int, tuple[int, ...]] = {}
    subsampling: Subsampling | None = None
    is_progressive, density, comment = False, None, b""
    for marker, content in _segments(path):
        if marker == TABLES:
            tables |= _tables(content)
        elif marker == JFIF and content.startswith(b"JFIF\0") and len(content) >= 12:
            unit, across, down = struct.unpack_from(">BHH", content, 7)
            if unit in (UNIT_INCH, UNIT_CENTIMETRE) and min(across, down) > 0:
                density = (across, down, unit)
        elif marker == COMMENT:
            comment = comment or content
        elif marker in FRAMES:
            is_progressive = marker in PROGRESSIVE
            subsampling = _subsampling(content)
    return JpegHeader(tuple(tables[key] for key in sorted(tables)), subsampling, is_progressive, density, comment)


def _segments(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as stream:
        stream.seek(2)
        while True:
            head = stream.read(2)
            while head[1:] == b"\xff":  # markers may be filled up
                head = head[1:] + stream.read(1)
            length = stream.read(2)
            if len(head) < 2 or head[0] != 0xFF or head[1] in (SCAN, END) or len(length) < 2:
                return
            yield head[1], stream.read(max(0, int.from_bytes(length, "big") - 2))


def _tables(content: bytes) -> dict[int, tuple[int, ...]]:
    found = {}
    while content:
        is_wide, number = content[0] >> 4, content[0] & 15
        size = 128 if is_wide else 64
        values = content[1 : 1 + size]
        if len(values) < size:
            break
        ordered = struct.unpack(">64H", values) if is_wide else tuple(values)
        places = dict(zip(ZIGZAG, ordered, strict=True))
        found[number] = tuple(places[place] for place in range(64))
        content = content[1 + size :]
    return found


def _subsampling(content: bytes) -> Subsampling | None:
    if len(content) < 15 or content[5] != 3:
        return None
    factors = [(content[7 + 3 * index] >> 4, content[7 + 3 * index] & 15) for index in range(3)]
    if factors[1] != (1, 1) or factors[2] != (1, 1):
        return None
    return SUBSAMPLINGS.get(factors[0])
