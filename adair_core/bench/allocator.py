"""The C allocator: seeing whether it keeps large blocks, and doing without what makes it so.

glibc returns every large block to the system when it is freed; the next large tensor then costs a page fault for each
4 KiB of it. That can take most of the time of a memory-bound operation, and says nothing about the operation.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import torch

_PROBE = 2**26
_PAGE = 2**12
# A small block that lies behind a freed large one may keep it from being used again: the best trial counts.
_TRIALS = 6


def stock_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment without settings of an allocator, for a process with the system's own."""
    return {
        key: value
        for key, value in environment.items()
        if not key.startswith(("MALLOC_", "GLIBC_TUNABLES")) and key != "LD_PRELOAD"
    }


def describe() -> str:
    """Find by experiment what this process's allocator does: ``keeps blocks``, ``returns blocks`` or ``unknown``."""
    least = math.inf
    for _ in range(_TRIALS):
        before = _faults()
        torch.empty(_PROBE, dtype=torch.uint8).fill_(1)
        after = _faults()
        if before is None or after is None:
            return "unknown"
        least = min(least, after - before)
    return "returns blocks" if least > _PROBE // _PAGE // 64 else "keeps blocks"


def _faults() -> int | None:
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
