"""Folders for results: made where they are missing, and a clear reason where they cannot be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from adair_core.errors import UsageError, expected


def make_folder(folder: Path) -> None:
    """Make a folder with those that it is in, if they are not there.

    Raises:
        OSError: it cannot be made; `strerror` is for people, and `filename` is what is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        found = in_the_way(folder)
        if found is None:
            raise
        place, reason = found
        raise NotADirectoryError(errno.ENOTDIR, reason, str(place)) from error


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made, before the work whose results go there.

    Raises:
        UsageError: a file, or a symbolic link to nothing, has its name or that of a folder that it is in; or no files
            can be made there.
    """
    found = in_the_way(folder)
    if found is not None:
        place, reason = found
        raise UsageError(f"{place}: {reason}")
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    # Whom a file system will let write is the effective user, who may be another one than the real.
    as_effective = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if not os.access(there, os.W_OK | os.X_OK, **as_effective):
        hint = "name another folder for results, or change its permissions"
        got = "one that is only read, or belongs to somebody else"
        raise UsageError(expected(str(there), expected="a folder in which files can be made", got=got, hint=hint))


def in_the_way(folder: Path) -> tuple[Path, str] | None:
    """Tell what keeps a folder from being made: a file, or a symbolic link to nothing, of its name or a parent's.

    Returns:
        It, and the reason in words; None = nothing is in the way.
    """
    for place in (folder, *folder.parents):
        if place.is_dir():
            return None
        if place.is_symlink() and not place.exists():
            target = place.readlink()
            hint = f"make the folder {target}, remove the link, or name another folder"
            return place, f"expected a folder, got a symbolic link to {target}, which is not there; {hint}"
        if place.exists():
            return place, "expected a folder, got a file; name another folder"
    return None
