"""Which code a result is of."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("csrc", "adair_core", "plugins", "tools", "tests/ops", "tests/model")
SUFFIXES = (".h", ".cpp", ".cuh", ".cu", ".py")


def digest(root: Path = ROOT) -> str:
    """Of all code that steps run, whether it is committed or not."""
    found = hashlib.sha256()
    paths = [root / "setup.py", *(path for folder in FOLDERS for path in (root / folder).rglob("*"))]
    for path in sorted(path for path in paths if path.suffix in SUFFIXES and path.is_file()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:16]
