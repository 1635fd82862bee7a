"""Finding image files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from adair_core.data.image_file import READ_SUFFIXES
from adair_core.errors import DataError, expected

KNOWN = ", ".join(READ_SUFFIXES)


def find_images(folder: Path | str) -> list[Path]:
    """List a folder's image files, by their names' endings, in all subfolders, in one order on every machine.

    Hidden files and folders are left out; links are followed, each folder once.

    Raises:
        DataError: no such folder, a file in its place, a folder that cannot be read, or one without images.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise DataError(expected(str(folder), expected="a folder of images", got="a file"))
    found: list[Path] = []
    others = 0
    for path in _files(folder):
        if path.suffix.lower() in READ_SUFFIXES:
            found.append(path)
        else:
            others += 1
    if not found:
        holds = f"{others} other files" if others else "no files"
        raise DataError(f"{folder}: expected images ({KNOWN}), got a folder with {holds}")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def find_others(folder: Path) -> list[Path]:
    """List the files in a folder and its subfolders that `find_images` leaves out, hidden ones apart."""
    return sorted(path for path in _files(folder) if path.suffix.lower() not in READ_SUFFIXES)


def _files(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error

    files: list[Path] = []
    seen: set[str] = set()
    for root, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        paths = (Path(root, name) for name in names if not name.startswith("."))
        files += (path for path in paths if path.is_file() or path.is_symlink())  # broken links are named when read
    return files


def copies(files: Iterable[Path], *, of: Iterable[Path]) -> set[Path]:
    """Find the files that are byte for byte one of others, as the clean image of a scene that is rained on twice is.

    Args:
        files: that may be copies; only those as long as one of the others are read.
        of: the others.
    """
    originals: dict[int, list[bytes]] = {}
    for path in of:
        originals.setdefault(path.stat().st_size, []).append(path.read_bytes())

    def is_copy(path: Path) -> bool:
        alike = originals.get(path.stat().st_size)
        return alike is not None and path.read_bytes() in alike

    return set(filter(is_copy, files))
