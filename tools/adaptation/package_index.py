"""The index of a folder of weights: which versions are in it, and one more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adair_core.atomic_file import write_atomically

FILE = "index.json"


def newest(package: Path, name: str) -> tuple[int, Path]:
    """Find the newest version of weights, and where it is; version 0 if there is none."""
    found = [(spec["version"], package / spec["path"]) for spec in _read(package) if spec["name"] == name]
    return max(found, default=(0, package))


def add(package: Path, **spec: Any) -> None:
    """Add an entry, whose weights are in the folder."""
    text = json.dumps([*_read(package), spec], indent=2)
    write_atomically(package / FILE, f"{text}\n".encode())


def _read(package: Path) -> list[dict[str, Any]]:
    specs: list[dict[str, Any]] = json.loads((package / FILE).read_text(encoding="utf-8"))
    return specs
