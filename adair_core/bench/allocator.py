"""The C allocator: seeing whether it keeps large blocks, and doing without what makes it so.

glibc returns every large block to the system when it is freed; the next large tensor then costs a page fault for each
4 KiB of it. That can take most of the time of a memory-bound operation, and says nothing about the operation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

_PROBE = 2**26
_PAGE = 2**12


def stock_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment without settings of an allocator, for a process with the system's own."""
    return {
        key: value
        for key, value in environment.items()
        if not key.startswith(("MALLOC_", "GLIBC_TUNABLES")) and key != "LD_PRELOAD"
    }


def describe() -> str:
    """Find by experiment what this process's allocator does: ``keeps blocks``, ``returns blocks`` or ``unknown``."""
    block = torch.empty(_PROBE, dtype=torch.uint8).fill_(1)
    filled = _resident()
    del block
    left = _resident()
    if filled is None or left is None:
        return "unknown"
    # Whether the next block reuses it is another question: glibc may need a second place for an aligned one.
    return "returns blocks" if filled - left > _PROBE // _PAGE // 2 else "keeps blocks"


def _resident() -> int | None:
    """Pages that the process holds."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
