"""PNG's chunks beside the pixels: what PNG files say about colour, resolution and authorship, kept byte for byte.

    chunk = length of content (4 bytes), name (4), content, CRC-32 of name and content (4)

Source: PNG (Third Edition), W3C, sections 5.3 and 11.3.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END_OF_HEADER = 33
"""Bytes of the signature and of the first chunk, IHDR."""

COLOR_CHUNKS = (b"cICP", b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"cLLI")
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
ELSEWHERE = (b"XML:com.adobe.xmp\0", b"Raw profile type ")
"""Texts that are read as XMP, EXIF and IPTC data and written anew."""

USUAL_GAMMA = (45455).to_bytes(4, "big")
"""1 / 2.2, which is what everybody takes for granted."""

LONGEST = 2**24
"""Chunks of more bytes are not taken along."""


@dataclass(frozen=True)
class Chunk:
    """A chunk.

    Attributes:
        name: four letters.
        content: without length and checksum.
    """

    name: bytes
    content: bytes

    @property
    def is_kept(self) -> bool:
        """Whether a PNG made from this one says the same."""
        return self.name in COLOR_CHUNKS or (self.name in TEXT_CHUNKS and not self.content.startswith(ELSEWHERE))

    @property
    def is_about_color(self) -> bool:
        """Whether it says what the values of pixels mean."""
        return self.name in COLOR_CHUNKS

    def to_bytes(self) -> bytes:
        """The chunk as it is in a file."""
        body = self.name + self.content
        return len(self.content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def read_chunks(path: Path) -> list[Chunk]:
    """Read a PNG file's chunks other than the pixels; up to where a damaged file makes sense."""
    chunks = []
    with path.open("rb") as stream:
        stream.seek(len(SIGNATURE))
        while len(head := stream.read(8)) == 8:
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            if name == b"IEND":
                break
            if length > LONGEST or name in (b"IDAT", b"fdAT"):
                stream.seek(length + 4, os.SEEK_CUR)
                continue
            content, checksum = stream.read(length), stream.read(4)
            if zlib.crc32(name + content).to_bytes(4, "big") != checksum:
                break
            chunks.append(Chunk(name, content))
    return chunks


class WithChunks:
    """What a PNG file is written into, to get chunks in the place of those between its header and its pixels.

    Args:
        file: that it becomes.
        chunks: to put in.
    """

    def __init__(self, file: BinaryIO, chunks: Sequence[Chunk]) -> None:
        self._file, self._chunks = file, chunks
        self._start: bytes | None = b""  # None: it is written

    def write(self, content: bytes) -> int:
        """Write the file's next bytes."""
        if self._start is None:
            return self._file.write(content)
        self._start += content
        pixels = _start_of_pixels(self._start)
        if pixels is not None:
            chunks = (chunk.to_bytes() for chunk in self._chunks)
            self._file.write(b"".join([self._start[:END_OF_HEADER], *chunks, self._start[pixels:]]))
            self._start = None
        return len(content)


def _start_of_pixels(start: bytes) -> int | None:
    """Where the first chunk of pixels begins in a file of which there is only a part."""
    place = END_OF_HEADER
    while len(start) >= place + 8:
        if start[place + 4 : place + 8] == b"IDAT":
            return place
        place += int.from_bytes(start[place : place + 4], "big") + 12
    return None


def meaningful_color(chunks: Sequence[Chunk]) -> list[bytes]:
    """Name the chunks about colour without which the picture looks different."""
    names = {chunk.name for chunk in chunks}
    if b"sRGB" in names:
        return []
    unusual = {chunk.name for chunk in chunks if chunk.name == b"gAMA" and chunk.content != USUAL_GAMMA}
    return [name for name in (b"cICP", b"gAMA") if name in names and (name == b"cICP" or name in unusual)]


def profile_chunk(profile: bytes) -> Chunk:
    """Hold an ICC profile."""
    return Chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))


def resolution_chunk(resolution: tuple[float, float]) -> Chunk:
    """Hold a resolution, given in pixels per millimetre."""
    across, down = (round(value * 1000).to_bytes(4, "big") for value in resolution)
    return Chunk(b"pHYs", across + down + b"\x01")


def xmp_chunk(xmp: bytes) -> Chunk:
    """Hold XMP data."""
    return Chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
