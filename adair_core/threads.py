"""How many threads computing should use on this machine, now.

Threads of a parallel loop wait for each other at its end. If there are more of them than free cores, each loop lasts as
long as the slowest takes to get its turn: two threads on a core and a half can be twenty times slower than one.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

_STATISTICS = Path("/proc/stat")
_TOPOLOGY = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_SAMPLE_SECONDS = 0.2
# Of a CPU's time; below that it is background noise of a few milliseconds now and then.
_BUSY = 0.3


@dataclass(frozen=True)
class Cores:
    """The cores that this process may use.

    Attributes:
        physical: of them; two logical CPUs that share a core count once.
        busy: how many of them other work keeps busy.
        quota: how much CPU time a control group grants, in cores; infinite without one.
    """

    physical: int
    busy: int = 0
    quota: float = math.inf

    @property
    def free(self) -> int:
        """The number of threads that can run without waiting for each other's cores; at least 1."""
        return max(1, math.floor(min(self.physical - self.busy, self.quota)))

    def __str__(self) -> str:
        """Such as ``4 cores, 1 of them busy``."""
        text = f"{self.physical} core{'' if self.physical == 1 else 's'}"
        text += f", {self.busy} of them busy" if self.busy else ""
        return text if math.isinf(self.quota) else f"{text}, a quota of {self.quota:g}"


def usable_cpus() -> int:
    """The number of logical CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> Cores | None:
    """Look at this process's cores for a fifth of a second; ``None`` where the system does not tell (not Linux)."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    groups = {_siblings(cpu) & allowed for cpu in allowed}
    before = _times()
    time.sleep(_SAMPLE_SECONDS)
    after = _times()
    if not before or not after:
        return None
    busy = sum(any(_share(before, after, cpu) > _BUSY for cpu in group) for group in groups)
    return Cores(len(groups), busy, _quota())


def _siblings(cpu: int) -> frozenset[int]:
    """The logical CPUs on the core of one."""
    for name in ("core_cpus_list", "thread_siblings_list"):
        try:
            text = (_TOPOLOGY / f"cpu{cpu}" / "topology" / name).read_text(encoding="ascii")
            ranges = [part.partition("-") for part in text.strip().split(",")]
            return frozenset(n for first, _, last in ranges for n in range(int(first), int(last or first) + 1)) | {cpu}
        except (OSError, ValueError):
            continue
    return frozenset({cpu})


def _times() -> dict[int, tuple[int, int]]:
    """For each CPU the ticks for which it has worked, and all of them."""
    try:
        lines = _STATISTICS.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    times = {}
    for line in lines:
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            # user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user time.
            ticks = [int(field) for field in fields[:8]]
            times[int(name[3:])] = (sum(ticks) - sum(ticks[3:5]), sum(ticks))
    return times


def _share(before: dict[int, tuple[int, int]], after: dict[int, tuple[int, int]], cpu: int) -> float:
    if cpu not in before or cpu not in after:
        return 0.0
    worked, passed = (now - then for now, then in zip(after[cpu], before[cpu], strict=True))
    return worked / passed if passed > 0 else 0.0


def _quota() -> float:
    """The smallest quota of this process's control group and those around it, in cores (version 2, then 1)."""
    quotas = [math.inf]
    for line in _lines(Path("/proc/self/cgroup")):
        controllers, _, path = line.partition(":")[2].partition(":")
        mount = _CGROUP if not controllers else _CGROUP / "cpu" if "cpu" in controllers.split(",") else None
        if mount is None:
            continue
        inner = mount / path.lstrip("/")
        for folder in (inner, *inner.parents):
            quotas.append(_quota_of(folder))
            if folder == mount:
                break
    return min(quotas)


def _quota_of(folder: Path) -> float:
    version_1 = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    fields = " ".join(_lines(folder / "cpu.max") or version_1).split()
    if len(fields) != 2 or fields[0] in ("max", "-1") or not all(field.isdigit() for field in fields):
        return math.inf
    return int(fields[0]) / int(fields[1])


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
