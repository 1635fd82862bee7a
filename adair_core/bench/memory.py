"""Peak memory and time of training steps, each kind in a process of its own.

Memory is what the process grew by, at its peak, over what it held before the first step: network, adapter and batch
lived then already. The allocator gives every large block back at once, so that the peak is that of what was in use; it
costs all competitors the same page faults, so times are for comparing them with each other, not with other tables.

``python -m adair_core.bench.memory NAME SIZE THREADS`` prints the result of one kind as JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adair_core.bench.allocator import stock_environment
from adair_core.bench.case import Size
from adair_core.errors import AdairError

STEPS = 3
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
"""glibc's own threshold, which it would otherwise raise as it goes."""

KINDS = {
    "adapter, eager": ("lora", "eager"),
    "adapter, adair": ("lora", "adair"),
    "adapter, adair, recomputing": ("lora", "recompute"),
    "full, eager": ("full", "eager"),
    "full, adair": ("full", "adair"),
    "full, adair, recomputing": ("full", "recompute"),
}
"""What trains, and by what."""

CASES: Mapping[Size, Sequence[str]] = {
    "full": ("paper {}/1x3x128x128/float32", "paper {}/1x3x128x128/autocast"),
    "quick": ("tiny {}/4x3x64x64/float32",),
    "smoke": ("paper {}/1x3x16x16/float32",),
}
HEADINGS = ("training step", "what", "peak over baseline, MiB", "baseline, MiB", "s a step")


@dataclass(frozen=True)
class Memory:
    """What one kind of training needed.

    Attributes:
        case: which training step, such as ``"paper/1x3x128x128/float32"``.
        what: a name in `KINDS`.
        peak: bytes over the baseline, at most.
        baseline: bytes that the process held before the first step.
        seconds: median of the steps after the first.
    """

    case: str
    what: str
    peak: int
    baseline: int
    seconds: float


def measure(size: Size, threads: int, *, say: Callable[[str], None]) -> list[Memory]:
    """Measure every kind; nothing where the system does not tell a process's peak.

    Args:
        size: of the images.
        threads: of PyTorch.
        say: is told what happens.

    Raises:
        AdairError: a process failed.
    """
    if _status("VmHWM") is None:
        return []
    found = []
    for case in CASES[size]:
        for what in KINDS:
            say(f"memory/{case.format(what)}")
            found.append(_in_process(case, what, size, threads))
    return found


def table(results: Sequence[Memory]) -> list[tuple[str, ...]]:
    """Rows for `HEADINGS`."""
    return [
        (entry.case, entry.what, f"{entry.peak / 2**20:.0f}", f"{entry.baseline / 2**20:.0f}", f"{entry.seconds:.3g}")
        for entry in results
    ]


def _in_process(case: str, what: str, size: Size, threads: int) -> Memory:
    command = [sys.executable, "-m", "adair_core.bench.memory", case, what, size, str(threads)]
    environment = {**stock_environment(), **GIVES_BACK}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise AdairError(f"the process that measures the memory of {what} ended with {done.returncode}: {reason}")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def run(case: str, what: str, size: Size, threads: int) -> Memory:
    """Measure one kind in this process, which should do nothing else."""
    import torch

    from adair_core.bench.case import EAGER, OURS
    from adair_core.bench.cases import case_named
    from adair_core.ops.keeping import recomputation

    torch.set_num_threads(threads)
    trained, by = KINDS[what]
    subject = case_named(f"train/{case.format(trained)}", size).make()
    step = subject.rows[EAGER if by == "eager" else OURS]()
    context: AbstractContextManager[Any] = recomputation() if by == "recompute" else contextlib.nullcontext()
    gc.collect()
    baseline = _forget_peak()
    times = []
    with context:
        for _ in range(STEPS):
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
    peak = _status("VmHWM")
    assert peak is not None
    return Memory(case.format("").replace(" ", ""), what, peak - baseline, baseline, statistics.median(times[1:]))


def _forget_peak() -> int:
    """Let the system's record of the peak begin anew; returns what the process holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    held = _status("VmRSS")
    assert held is not None
    return held


def _status(name: str) -> int | None:
    """A number of bytes in the process's status, where the system tells it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None


if __name__ == "__main__":
    result = run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))  # type: ignore[arg-type]
    print(json.dumps(dataclasses.asdict(result)))
