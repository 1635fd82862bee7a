"""Files that libvips writes into, with the system's own error where that fails: libvips tells none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import pyvips


class Writable(Protocol):
    """What an encoder writes into; those of TIFF read and move, too."""

    def write(self, content: Any, /) -> int:
        """Write all of it."""


@contextlib.contextmanager
def writing_to(file: Writable | BinaryIO) -> Iterator[Any]:
    """Make a target of libvips' of a file.

    Raises:
        OSError: what the file raised.
        pyvips.Error: what else failed.
    """
    failures: list[Exception] = []

    def guarded(operation: Any, failed: Any) -> Any:
        def run(*arguments: Any) -> Any:
            # An exception cannot pass through libvips.
            try:
                return failed if failures else operation(*arguments)
            except Exception as error:
                failures.append(error)
                return failed

        return run

    target = pyvips.TargetCustom()
    target.on_write(guarded(file.write, -1))
    seek, read = getattr(file, "seek", None), getattr(file, "read", None)
    if seek is not None and read is not None:
        target.on_seek(guarded(seek, -1))
        target.on_read(guarded(lambda size: read(size) or None, None))
    try:
        yield target
    except pyvips.Error:
        if failures:
            raise failures[0] from None
        raise
    if failures:
        raise failures[0]
