"""Lists of file names, from a file or from standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from adair_core.errors import DataError

STDIN = "-"


def read_file_list(name: str) -> list[Path]:
    """Read names, one a line; or, where there are zero bytes, one before each, as ``find -print0`` writes them.

    Args:
        name: of the list, or ``-`` for standard input.

    Returns:
        The names as they are; empty lines are left out.

    Raises:
        DataError: the list cannot be read, or names nothing.
    """
    title = "standard input" if name == STDIN else name
    try:
        content = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except OSError as error:
        raise DataError(f"{title}: the list of files cannot be read: {error.strerror or error}") from error
    end = b"\0" if b"\0" in content else b"\n"
    lines = (line if end == b"\0" else line.removesuffix(b"\r") for line in content.split(end))
    names = [Path(os.fsdecode(line)) for line in lines if line.strip()]
    if not names:
        raise DataError(f"{title}: expected names of files, one a line, got none")
    return names
