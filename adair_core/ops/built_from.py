"""Which sources native kernels fit: digests of the C++ code and of the Python code that calls it.

The build writes them into the native runtime module; the loader computes them again, and refuses kernels of other
sources: an operator of another signature would end in the middle of a computation. setup.py runs this file by its path,
so it needs the standard library alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

CALLERS = ("**/native.py", "**/parameters.py", "**/cuda.py", "**/composed.py", "pixel_steps.py")
"""Files in the folder of operators that call kernels, or say in which order; the Makefile has them, too."""


def kernels(csrc: Path) -> str:
    """The digest of the C++ sources in a folder; empty if it is not there, as in an installed package."""
    return _digest(csrc, "*/*")


def callers(package: Path) -> str:
    """The digest of the Python code of a package, ``adair_core``, that calls kernels, or says in which order."""
    return _digest(package / "ops", *CALLERS)


def of(root: Path) -> dict[str, str]:
    """Both digests, of a source folder or of the folder that a package is installed in."""
    return {"kernels": kernels(root / "csrc"), "callers": callers(root / "adair_core")}


# An editor's files are none.
_SUFFIXES = (".h", ".cpp", ".cuh", ".cu", ".py")


def _digest(folder: Path, *patterns: str) -> str:
    files = sorted(
        (path.relative_to(folder).as_posix(), path)
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.suffix in _SUFFIXES
    )
    if not files:
        return ""
    found = hashlib.sha256()
    for name, path in files:
        content = path.read_bytes()
        found.update(f"{name} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:16]
