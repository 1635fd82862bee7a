"""What a JPEG file holds after its picture: further pictures, gain maps and videos, which cameras and phones put there.

    file = picture, FF D9, anything

Source: ITU-T T.81, B.1.1 (markers; within the pixels FF is followed by 00, or is a restart marker, FF D0 to FF D7).
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from adair_core.data.jpeg_header import END

MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""A marker that ends a run of pixels."""
PADDING = b"\0\xff\r\n "


def bytes_after_picture(path: Path) -> int:
    """Count the bytes after a JPEG's end; 0 where there are none, none but padding, or no end.

    Args:
        path: a JPEG, which begins with its two bytes FF D8.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = 2
        while (found := MARKER.search(content, place)) is not None:
            if content[found.start() + 1] == END:
                rest = content[found.end() :]
                return len(rest) if rest.strip(PADDING) else 0
            # A segment may hold a whole preview with an end of its own.
            place = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    return 0
