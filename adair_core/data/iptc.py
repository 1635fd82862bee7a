"""IPTC data: titles, captions and keywords of photo agencies, which JPEG and TIFF hold in different coats.

    IPTC data    = data sets, each a byte 1C, record, number, length (2 bytes) and content
    in TIFF      = these, in entry 33723
    in JPEG      = "Photoshop 3.0", a zero byte, and Photoshop's resources, of which that of number 0404 is these
    a resource   = "8BIM", number (2 bytes), name (its length, then itself), length (4 bytes), content; name and content
                   each filled up to an even number of bytes

Source: IPTC-NAA Information Interchange Model 4; Adobe, "Photoshop File Formats", Image Resource Blocks.
"""

from __future__ import annotations

import struct

TIFF_TAG = 33723
START = b"\x1c"
PHOTOSHOP = b"Photoshop 3.0\0"
SIGNATURE, NUMBER = b"8BIM", 0x0404
LONGEST_IN_JPEG = 2**16 - 3
"""Bytes that a segment of JPEG holds beside its length."""


def for_jpeg(data: bytes) -> bytes | None:
    """Return IPTC data as JPEG holds them; None if they are too long for that."""
    if not data.startswith(PHOTOSHOP):
        resource = SIGNATURE + struct.pack(">HHI", NUMBER, 0, len(data)) + data
        data = PHOTOSHOP + resource + bytes(len(data) % 2)
    return data if len(data) <= LONGEST_IN_JPEG else None


def for_tiff(data: bytes) -> bytes | None:
    """Return IPTC data as TIFF holds them; None if there are none among Photoshop's resources."""
    if not data.startswith(PHOTOSHOP):
        return data
    place = len(PHOTOSHOP)
    while data[place : place + 4] == SIGNATURE and place + 7 <= len(data):
        name = 1 + data[place + 6]
        start = place + 6 + name + name % 2 + 4
        length = int.from_bytes(data[start - 4 : start], "big")
        if data[place + 4 : place + 6] == NUMBER.to_bytes(2, "big"):
            return data[start : start + length] or None
        place = start + length + length % 2
    return None


def in_order(data: bytes) -> bytes:
    """Turn the bytes round that were stored as numbers of 32 bits in the other byte order."""
    if data.startswith(START) or data[3:4] != START:
        return data
    data += bytes(-len(data) % 4)
    return b"".join(data[place : place + 4][::-1] for place in range(0, len(data), 4))
