"""The CPU's name and who makes it."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """The model of this machine's CPU, as far as the system tells it; else its architecture."""
    return _told("model name") or platform.processor() or platform.machine()


def cpu_vendor() -> str:
    """Who makes this machine's CPU, in the words of x86's CPUID: "GenuineIntel", "AuthenticAMD"; else ""."""
    known = ("GenuineIntel", "AuthenticAMD")
    # Windows has no /proc; it says "AMD64 Family 25 Model 17 Stepping 1, AuthenticAMD".
    return _told("vendor_id") or next((name for name in known if platform.processor().endswith(name)), "")


def _told(key: str) -> str:
    """What Linux tells of the first core; empty if it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
