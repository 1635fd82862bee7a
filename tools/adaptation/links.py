"""Folders of links: a choice of images, for commands that take folders."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


def linked(folder: Path, files: Mapping[str, Path]) -> Path:
    """Make a folder of links with these names, unless it is there; all of them, or none."""
    if not folder.exists():
        made = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for name, file in files.items():
            (made / name).symlink_to(file)
        made.rename(folder)
    return folder
