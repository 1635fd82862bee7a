"""What kind of file a native library is, where the dynamic loader's own message leaves one guessing."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

# e_machine of the ELF header.
_MACHINES = {
    3: "i686",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "ppc64"}


def misfit(path: Path) -> str | None:
    """Why a file cannot be a library for this machine; ``None`` if it can, or if only the loader knows."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        with path.open("rb") as file:
            header = file.read(64)
    except OSError as error:
        return f"the file cannot be read ({error.strerror})"
    if header[:4] != b"\x7fELF":
        return f"the file is not a library (it begins with {header[:8]!r})"
    if len(header) < 64:
        return "the file is truncated"
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    built_for = _MACHINES.get(number, f"machine {number}")
    here = platform.machine().lower()
    here = _ALIASES.get(here, here)
    return f"the library is built for {built_for}, this machine is {here}" if built_for != here else None
