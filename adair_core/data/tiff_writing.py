"""Writing TIFF files page by page, each page's picture by libvips.

libvips writes a picture as a file of its own, into the place where the page begins. Its directory is then written anew
behind it, with offsets that count from the whole file's beginning and what libvips cannot say (EXIF data), and the page
before it is told where that is. So a page may be of any size and kind, and none is in memory or moved when the next
one comes.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Collection
from dataclasses import replace
from typing import BinaryIO

from adair_core.data.exif import HEADER
from adair_core.data.iptc import TIFF_TAG
from adair_core.data.tiff_directory import (
    ABOUT_THE_PICTURE,
    BIG,
    CLASSIC,
    KIND_OF_PAGE,
    Directory,
    Entry,
    directory_in,
    encoded,
)

OFFSETS = (273, 324)
"""Entries with the places of strips or tiles: all offsets that libvips writes, but for values of the directory."""
OF_A_DOCUMENT = Entry(4, (2).to_bytes(4, "little"))
"""`KIND_OF_PAGE` of a page of several."""
UNDEFINED = 7
LETTERS = {3: "H", 4: "I", 16: "Q"}


class GrowingTiff:
    """A little-endian TIFF file that gets one page after another.

    Args:
        file: it, empty; to be read and written.
        is_big: with offsets of 64 bits, which files from 4 GiB on need.
        is_document: its pages say that there are several.

    Attributes:
        is_big: see there.
    """

    def __init__(self, file: BinaryIO, *, is_big: bool, is_document: bool = False) -> None:
        self.is_big = is_big
        self._file, self._is_document = file, is_document
        self._form = BIG if is_big else CLASSIC
        self._link = self._form.start

    def page(self) -> FromHere:
        """Begin a page: give what its picture is to be written into, as a file of the same form."""
        return FromHere(self._file, self._even_end())

    def finish(
        self, page: FromHere, exif: bytes | None, *, iptc: bytes | None = None, dropped: Collection[int] = ()
    ) -> None:
        """Make a picture that was written a page of the file.

        Args:
            page: see `page`.
            exif: EXIF data of the page with their header; what cannot be understood of them is left out.
            iptc: IPTC data of the page.
            dropped: tags that its picture's directory has and the page shall not have.

        Raises:
            OSError: it cannot be written.
        """
        added = directory_in(io.BytesIO(exif[len(HEADER) :])) if exif else {}
        about = {tag: entry for tag, entry in added.items() if tag in ABOUT_THE_PICTURE}
        own = {tag: entry for tag, entry in directory_in(page).items() if tag not in dropped}
        if iptc:
            own[TIFF_TAG] = Entry(UNDEFINED, iptc)
        if self._is_document:
            own[KIND_OF_PAGE] = OF_A_DOCUMENT
        whole = {**about, **self._moved(own, page.start)}
        start = self._even_end()
        self._file.write(encoded(whole, start, self._form))
        self._file.seek(self._link)
        self._file.write(struct.pack(f"<{self._form.offset}", start))
        self._link = start + struct.calcsize(self._form.counter) + len(whole) * self._form.entry_size

    def _moved(self, directory: Directory, distance: int) -> Directory:
        """Let a directory's offsets count from the file's beginning."""
        moved = dict(directory)
        for tag in OFFSETS:
            if tag in directory:
                entry = directory[tag]
                letter = LETTERS[entry.kind]
                values = struct.unpack(f"<{len(entry.data) // struct.calcsize(letter)}{letter}", entry.data)
                data = struct.pack(f"<{len(values)}{self._form.offset}", *(value + distance for value in values))
                moved[tag] = replace(entry, kind=self._form.pointer, data=data)
        return moved

    def _even_end(self) -> int:
        """Move to the file's end, where directories and values may begin: at an even offset."""
        end = self._file.seek(0, os.SEEK_END)
        if end % 2:
            self._file.write(b"\0")
        return end + end % 2


class FromHere:
    """A file's part from an offset on, as a file of its own.

    Args:
        file: to be read and written.
        start: the offset.
    """

    def __init__(self, file: BinaryIO, start: int) -> None:
        self.start, self._file = start, file

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        return self._file.read(size)

    def write(self, content: bytes) -> int:
        """Write on."""
        return self._file.write(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; returns how far from the part's beginning it then is."""
        return self._file.seek(offset + self.start if whence == os.SEEK_SET else offset, whence) - self.start
