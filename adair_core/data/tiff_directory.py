"""TIFF's directories: what a file says about its picture, read and written without changing a value.

    file = byte order, 42, offset of a directory;  directory = count, entries of 12 bytes in the order of their tags,
    offset of the next;  entry = tag, type, count, and the value or its offset

EXIF data are such a file without an image. libvips neither reads nor writes them in TIFF, and Pillow cannot write
16 bit colours or floats: so libvips writes the file, and its directory is extended here.

Source: TIFF Revision 6.0, section 2; BigTIFF's wider fields as in libtiff; Exif 2.32, section 4.6.3.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

from adair_core.data.exif import HEADER

UNITS: Mapping[int, tuple[int, int]] = {
    **dict.fromkeys((1, 2, 6, 7), (1, 1)),
    **dict.fromkeys((3, 8), (2, 1)),
    **dict.fromkeys((4, 9, 11, 13), (4, 1)),
    **dict.fromkeys((5, 10), (4, 2)),
    **dict.fromkeys((12, 16, 17, 18), (8, 1)),
}
"""Type -> bytes that a byte order turns round, and how many of these are one value."""

LONG, RATIONALS = 4, (5, 10)
EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
INNER = (EXIF, GPS, INTEROPERABILITY)
"""Entries whose value is the offset of a directory."""

X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
ABOUT_THE_PICTURE = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298),  # name, maker, date, artist, copyright
    *(0x4746, 0x4749, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),  # rating; Windows' title, comment, author, keywords
    *(EXIF, GPS),
)
"""Entries of the first directory that are about the picture and not about how its pixels are stored."""

LONGEST = 2**24
"""Values of more bytes are not read: a damaged count can claim anything."""


@dataclass(frozen=True)
class Entry:
    """A value of a directory.

    Attributes:
        kind: its type's number.
        data: in little-endian order, as many values as its length says.
        inner: the directory that it stands for.
    """

    kind: int
    data: bytes = b""
    inner: Mapping[int, Entry] = field(default_factory=dict)

    def number(self) -> float | None:
        """The first value as a number, if it is one."""
        if self.kind in RATIONALS and len(self.data) >= 8:
            above, below = struct.unpack_from("<II" if self.kind == 5 else "<ii", self.data)
            return above / below if below else None
        letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.kind)
        if letter is None or len(self.data) < struct.calcsize(letter):
            return None
        return float(struct.unpack_from(f"<{letter}", self.data)[0])


Directory: TypeAlias = Mapping[int, Entry]


def read_directory(path: Path) -> Directory:
    """Read a TIFF file's first directory; what is damaged is left out."""
    with path.open("rb") as stream:
        return _read(stream)


def number_in(directory: Directory, tag: int, default: float) -> float:
    """Return a directory's number, or `default` if it has none of that tag."""
    found = directory[tag].number() if tag in directory else None
    return default if found is None else found


def exif_of(directory: Directory) -> bytes | None:
    """Make EXIF data of what a TIFF file says about its picture; None if that is nothing."""
    found = {tag: entry for tag, entry in directory.items() if tag in ABOUT_THE_PICTURE}
    return HEADER + b"II*\0\x08\0\0\0" + _encoded(found, 8) if found else None


def with_exif(tiff: bytes, exif: bytes | None, *, dropped: Collection[int] = ()) -> bytes:
    """Add EXIF data to a TIFF file, and take entries out.

    Args:
        tiff: a little-endian file with offsets of 32 bits, of one image.
        exif: with their header; what cannot be understood of them is left out.
        dropped: tags.

    Returns:
        The file, with its directory at the end.
    """
    own = {tag: entry for tag, entry in _read(io.BytesIO(tiff)).items() if tag not in dropped}
    added = _read(io.BytesIO(exif[len(HEADER) :])) if exif else {}
    about = {tag: entry for tag, entry in added.items() if tag in ABOUT_THE_PICTURE}
    start = len(tiff) + len(tiff) % 2  # directories begin at even offsets
    header = tiff[:4] + struct.pack("<I", start)
    return header + tiff[8:] + bytes(start - len(tiff)) + _encoded({**about, **own}, start)


def _read(stream: BinaryIO) -> Directory:
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return {}
    is_big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    if is_big and len(head) < 16:
        return {}
    start = struct.unpack_from(f"{order}Q", head, 8)[0] if is_big else struct.unpack_from(f"{order}I", head, 4)[0]
    return _directory_at(stream, start, order, is_big, depth=0)


def _directory_at(stream: BinaryIO, start: int, order: str, is_big: bool, *, depth: int) -> Directory:
    counter, size, form = ("Q", 20, "HHQ8s") if is_big else ("H", 12, "HHI4s")
    stream.seek(start)
    head = stream.read(struct.calcsize(counter))
    if len(head) < struct.calcsize(counter):
        return {}
    count = min(struct.unpack(order + counter, head)[0], 2**12)
    content = stream.read(count * size)
    found: dict[int, Entry] = {}
    for position in range(0, len(content) - size + 1, size):
        tag, kind, length, value = struct.unpack_from(order + form, content, position)
        if kind not in UNITS or tag in found:
            continue
        unit, per_value = UNITS[kind]
        needed = length * unit * per_value
        if needed > len(value):
            if needed > LONGEST:
                continue
            stream.seek(struct.unpack(order + ("Q" if is_big else "I"), value)[0])
            value = stream.read(needed)
        data = _little(value[:needed], unit, order)
        if len(data) < needed:
            continue
        if tag in INNER and depth < 2:
            inner = _directory_at(stream, int(Entry(kind, data).number() or 0), order, is_big, depth=depth + 1)
            if inner:
                found[tag] = Entry(LONG, inner=inner)
        else:
            found[tag] = Entry(kind, data)
    return found


def _little(data: bytes, unit: int, order: str) -> bytes:
    if order == "<" or unit == 1:
        return data
    return b"".join(data[start : start + unit][::-1] for start in range(0, len(data), unit))


def _encoded(directory: Directory, start: int) -> bytes:
    """Encode a directory that begins at an offset, with its values and inner directories after it."""
    entries = sorted(directory.items())
    tail = bytearray()
    end = start + 2 + 12 * len(entries) + 4
    head = struct.pack("<H", len(entries))
    for tag, entry in entries:
        place = end + len(tail)
        if entry.inner:
            tail += _encoded(entry.inner, place)
            count, value = 1, struct.pack("<I", place)
        elif len(entry.data) <= 4:
            count, value = len(entry.data), entry.data.ljust(4, b"\0")
        else:
            tail += entry.data + bytes(len(entry.data) % 2)
            count, value = len(entry.data), struct.pack("<I", place)
        unit, per_value = (1, 1) if entry.inner else UNITS[entry.kind]
        head += struct.pack("<HHI", tag, entry.kind, count // (unit * per_value)) + value
    return head + bytes(4) + bytes(tail)
