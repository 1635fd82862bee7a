"""The CPU's name."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """The model of this machine's CPU, as far as the system tells it; else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
