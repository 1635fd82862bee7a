"""What a measurement ran on, and what else ran there at the time."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import adair_core
from adair_core.bench import allocator
from adair_core.cpu import cpu_name
from adair_core.ops.native import library
from adair_core.threads import usable_cpus

BUSY = 0.15
"""Processors kept busy by other programs from which a measurement counts as disturbed."""


def describe() -> dict[str, Any]:
    """The machine, the software and the settings of this process."""
    return {
        "adair": adair_core.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "processors": usable_cpus(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "capability_cap": os.environ.get("ADAIR_CPU_CAPABILITY", ""),
        "allocator": allocator.describe(),
        "native": library().loaded,
    }


@dataclass(frozen=True)
class Ticks:
    """Processor time so far, in seconds: of the whole machine, and of our own processes."""

    moment: float
    machine: float | None
    own: float

    @classmethod
    def now(cls, children: Sequence[int] = ()) -> Ticks:
        """Read the clocks; `children` are the processes that work for this one."""
        own = time.process_time() + sum(_process_seconds(process) for process in children)
        return cls(time.perf_counter(), _machine_seconds(), own)


def others(before: Ticks, after: Ticks) -> float | None:
    """How many processors other programs kept busy between two readings; ``None`` where the system does not say.

    The load average would not do: it counts our own work, and a minute of the past.
    """
    if before.machine is None or after.machine is None or after.moment <= before.moment:
        return None
    used = (after.machine - before.machine) - (after.own - before.own)
    return max(0.0, used / (after.moment - before.moment))


def load() -> str:
    """The system's load averages over 1, 5 and 15 minutes, and its running processes, as text."""
    try:
        return " ".join(Path("/proc/loadavg").read_text(encoding="ascii").split()[:4])
    except OSError:
        return "unknown"


def is_idle(seconds: float = 1.0) -> bool | None:
    """Watch for a moment whether other programs run; ``None`` where the system does not say."""
    before = Ticks.now()
    time.sleep(seconds)
    found = others(before, Ticks.now())
    return None if found is None else found <= BUSY


def _machine_seconds() -> float | None:
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / float(os.sysconf("SC_CLK_TCK"))


def _process_seconds(process: int) -> float:
    try:
        # The name, in parentheses, may hold blanks.
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))
