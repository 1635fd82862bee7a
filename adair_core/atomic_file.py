"""Files that are either the old ones or the new ones, whatever happens in between.

A file is written under a temporary name in the same folder, flushed to the disk and renamed. A full disk, a kill or a
power cut leaves what the name held before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".writing"


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True, durable: bool = True) -> Iterator[Path]:
    """Write a file so that its name always holds a complete one.

    Args:
        path: the file.
        overwrite: whether it may exist already.
        durable: wait until the disk has it; false for files that nobody needs after a power cut.

    Yields:
        An empty file beside it, to write to; when the context ends well, it takes the name.

    Raises:
        FileExistsError: something has the name and `overwrite` is false.
        OSError: it cannot be written; its `filename` is the file. No temporary file is left, whatever was raised.
    """
    # The file system's limit on names holds for the temporary one too: four bytes a character at most.
    temporary = path.with_name(f".{path.name[:32]}.{_process(os.getpid())}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        temporary.touch(exist_ok=False)
        permissions = temporary.stat().st_mode
        yield temporary
        temporary.chmod(permissions)  # those that the user's files get; some libraries make files private
        if durable:
            _flush(temporary)
        if overwrite:
            temporary.replace(path)
        else:
            _name(temporary, path)
        if durable:
            with contextlib.suppress(OSError):  # not every file system lets a folder be opened
                _flush(path.parent)  # without it the renaming may be lost at a power cut
    except OSError as error:
        if error.filename in (None, str(temporary)):  # writing to an open file names none
            with contextlib.suppress(AttributeError):  # PyAV's errors are OSErrors whose name cannot be set
                error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, all of it or nothing.

    Raises:
        OSError: as `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes were writing in a folder; nobody else may be writing there."""
    for leftover in folder.glob(f".*{SUFFIX}"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def remove_abandoned(folder: Path) -> int:
    """Remove what processes of this machine were writing in a folder when they were killed; others' files stay.

    Returns:
        How many there were.
    """
    removed = 0
    for leftover in folder.glob(f".*{SUFFIX}"):
        process = leftover.name.removesuffix(SUFFIX).split(".")[-2:-1]
        host, _, number = process[0].rpartition("-") if process else ("", "", "")
        if number.isdigit() and process[0] == _process(int(number)) and host and not _is_running(int(number)):
            with contextlib.suppress(OSError):
                leftover.unlink()
                removed += 1
    return removed


def _process(number: int) -> str:
    """Name a process of this machine, on disks that several machines share."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}-{number}"


def _is_running(process: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 is not harmless
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _name(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike a rename, it fails if the name is taken
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
