"""TIFF's directories: what a file says about its pictures, read and written without changing a value.

    file = byte order, 42, offset of a directory;  directory = count, entries of 12 bytes in the order of their tags,
    offset of the next;  entry = tag, type, count, and the value or its offset

EXIF data are such a file without an image. libvips neither reads nor writes them in TIFF, and Pillow cannot write
16 bit colours or floats: so libvips writes pictures, and `adair_core.data.tiff_writing` extends their directories.

Source: TIFF Revision 6.0, section 2; BigTIFF's wider fields as in libtiff; Exif 2.32, section 4.6.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from adair_core.data.exif import HEADER

UNITS: Mapping[int, tuple[int, int]] = {
    **dict.fromkeys((1, 2, 6, 7), (1, 1)),
    **dict.fromkeys((3, 8), (2, 1)),
    **dict.fromkeys((4, 9, 11, 13), (4, 1)),
    **dict.fromkeys((5, 10), (4, 2)),
    **dict.fromkeys((12, 16, 17, 18), (8, 1)),
}
"""Type -> bytes that a byte order turns round, and how many of these are one value."""

RATIONALS = (5, 10)
EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
INNER = (EXIF, GPS, INTEROPERABILITY)
"""Entries whose value is the offset of a directory."""

KIND_OF_PAGE, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 254, 282, 283, 296
ABOUT_THE_PICTURE = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298),  # name, maker, date, artist, copyright
    *(0x011D, 0x0129),  # name and number of the page
    *(0x4746, 0x4749, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),  # rating; Windows' title, comment, author, keywords
    *(EXIF, GPS),
)
"""Entries of the first directory that are about the picture and not about how its pixels are stored."""

MOST_ENTRIES = 2**12
LONGEST = 2**24
"""Values of more bytes are not read: a damaged count can claim anything."""


class Readable(Protocol):
    """What directories are read from: a file, or a part of one."""

    def read(self, size: int, /) -> bytes:
        """Read on."""

    def seek(self, offset: int, /) -> int:
        """Move."""


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


@dataclass(frozen=True)
class Form:
    """How wide the fields of directories are.

    Attributes:
        start: where a file says the offset of its first directory.
        counter: type of the number of entries.
        offset: type of offsets and of the number of values.
        pointer: number of the type of an entry that is an offset.
    """

    start: int
    counter: str
    offset: str
    pointer: int

    @property
    def width(self) -> int:
        """Bytes of an offset, and of a value within its entry."""
        return struct.calcsize(self.offset)

    @property
    def entry(self) -> str:
        """Tag, type, number of values, and the value or its offset."""
        return f"HH{self.offset}{self.width}s"

    @property
    def entry_size(self) -> int:
        """Bytes of an entry."""
        return 4 + 2 * self.width


CLASSIC, BIG = Form(4, "H", "I", pointer=4), Form(8, "Q", "Q", pointer=16)
"""Of TIFF, and of BigTIFF, whose files may be larger than 4 GiB."""


def read_directory(path: Path, place: Place | None = None) -> Directory:
    """Read a directory of a TIFF file; what is damaged is left out.

    Args:
        path: the file.
        place: where the directory is; None = the first of the chain.
    """
    with path.open("rb") as stream:
        return directory_in(stream, place)


def directory_in(stream: Readable, place: Place | None = None) -> Directory:
    """Read a directory of what a stream holds; see `read_directory`."""
    place = place or next(places(stream), None)
    order, form = _begun(stream)
    return {} if place is None else _directory_at(stream, place.start, order, form, depth=0)


@dataclass(frozen=True)
class Place:
    """Where a directory of a chain is.

    Attributes:
        number: in the chain, from 0 on.
        start: its offset.
        kind: what its picture is of the others, in bits; see `KIND_OF_PAGE`.
        following: the offset of the next one; 0 = none.
    """

    number: int
    start: int
    kind: int
    following: int


def places(stream: Readable) -> Iterator[Place]:
    """Go through the chain of a file's directories, as far as it makes sense."""
    order, form = _begun(stream)
    stream.seek(0)
    head = stream.read(form.start + form.width)
    if not order or len(head) < form.start + form.width:
        return
    start = struct.unpack_from(f"{order}{form.offset}", head, form.start)[0]
    seen: set[int] = set()
    while start and start not in seen:
        seen.add(start)
        stream.seek(start)
        counted = stream.read(struct.calcsize(form.counter))
        if len(counted) < struct.calcsize(form.counter):
            return
        count = struct.unpack(order + form.counter, counted)[0]
        entries = stream.read(min(count, MOST_ENTRIES) * form.entry_size)
        stream.seek(start + len(counted) + count * form.entry_size)
        after = stream.read(form.width)
        following = struct.unpack(order + form.offset, after)[0] if len(after) == form.width else 0
        yield Place(len(seen) - 1, start, _kind_of_page(entries, order, form), following)
        start = following


def number_in(directory: Directory, tag: int, default: float) -> float:
    """Return a directory's number, or `default` if it has none of that tag."""
    found = directory[tag].number() if tag in directory else None
    return default if found is None else found


def exif_of(directory: Directory) -> bytes | None:
    """Make EXIF data of what a TIFF file says about its picture; None if that is nothing."""
    found = {tag: entry for tag, entry in directory.items() if tag in ABOUT_THE_PICTURE}
    return HEADER + b"II*\0\x08\0\0\0" + encoded(found, 8, CLASSIC) if found else None


def _begun(stream: Readable) -> tuple[str, Form]:
    """Read a file's byte order, empty if it is none, and form."""
    stream.seek(0)
    head = stream.read(4)
    form = BIG if head[2:3] == b"+" or head[3:4] == b"+" else CLASSIC
    return {b"II": "<", b"MM": ">"}.get(head[:2], ""), form


def _kind_of_page(entries: bytes, order: str, form: Form) -> int:
    for position in range(0, len(entries) - form.entry_size + 1, form.entry_size):
        tag, kind, _, value = struct.unpack_from(order + form.entry, entries, position)
        if tag == KIND_OF_PAGE and kind in (3, 4):
            return int(struct.unpack_from(order + ("H" if kind == 3 else "I"), value)[0])
    return 0


def _directory_at(stream: Readable, start: int, order: str, form: Form, *, depth: int) -> Directory:
    size = form.entry_size
    stream.seek(start)
    head = stream.read(struct.calcsize(form.counter))
    if len(head) < struct.calcsize(form.counter):
        return {}
    count = min(struct.unpack(order + form.counter, head)[0], MOST_ENTRIES)
    content = stream.read(count * size)
    found: dict[int, Entry] = {}
    for position in range(0, len(content) - size + 1, size):
        tag, kind, length, value = struct.unpack_from(order + form.entry, content, position)
        if kind not in UNITS or tag in found:
            continue
        unit, per_value = UNITS[kind]
        needed = length * unit * per_value
        if needed > len(value):
            if needed > LONGEST:
                continue
            stream.seek(struct.unpack(order + form.offset, value)[0])
            value = stream.read(needed)
        data = _little(value[:needed], unit, order)
        if len(data) < needed:
            continue
        if tag in INNER and depth < 2:
            inner = _directory_at(stream, int(Entry(kind, data).number() or 0), order, form, depth=depth + 1)
            if inner:
                found[tag] = Entry(kind, inner=inner)
        else:
            found[tag] = Entry(kind, data)
    return found


def _little(data: bytes, unit: int, order: str) -> bytes:
    if order == "<" or unit == 1:
        return data
    return b"".join(data[start : start + unit][::-1] for start in range(0, len(data), unit))


def encoded(directory: Directory, start: int, form: Form) -> bytes:
    """Encode a little-endian directory that begins at an offset, with its values and inner directories after it."""
    entries = sorted(directory.items())
    tail = bytearray()
    end = start + struct.calcsize(form.counter) + form.entry_size * len(entries) + form.width
    head = struct.pack(f"<{form.counter}", len(entries))
    for tag, entry in entries:
        place = end + len(tail)
        offset = struct.pack(f"<{form.offset}", place)
        unit, per_value = UNITS[entry.kind]
        kind, count, value = entry.kind, len(entry.data) // (unit * per_value), entry.data
        if entry.inner:
            tail += encoded(entry.inner, place, form)
            kind, count, value = form.pointer, 1, offset
        elif len(value) > form.width:
            tail += value + bytes(len(value) % 2)
            value = offset
        head += struct.pack(f"<{form.entry}", tag, kind, count, value)
    return head + bytes(form.width) + bytes(tail)
