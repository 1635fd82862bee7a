"""Tuning the process: its allocator and its threads. An import never does it; the commands do."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from types import ModuleType

import torch

from adair_core.errors import UsageError, expected
from adair_core.threads import cores

OPT_OUT = "ADAIR_TUNE"
"""With the value 0, this environment variable keeps the commands from tuning their process."""


@dataclass(frozen=True)
class Tuning:
    """What `tune_process` did.

    Attributes:
        allocator: what became of the allocator, in words.
        allocator_tuned: whether it was tuned.
        threads: that PyTorch computes with on the CPU now.
        threads_reason: why so many.
    """

    allocator: str
    allocator_tuned: bool
    threads: int
    threads_reason: str


def tune_process(*, allocator: bool = True, threads: int | None = None) -> Tuning:
    """Set this process up for computing on a CPU; best done before it computes anything.

    The allocator keeps large blocks instead of giving each back to the system (glibc only; a process may then hold more
    memory than it uses at the moment). The number of threads becomes `threads`; without it, OMP_NUM_THREADS; without
    that, the number of cores that this process may use and that are idle now.

    Args:
        allocator: whether to tune the allocator.
        threads: for PyTorch on the CPU.

    Raises:
        UsageError: `threads` is not a positive number.

    Example:
        >>> import adair_core as adair
        >>> adair.tune_process(allocator=False, threads=1).threads
        1
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise UsageError(expected("threads", expected="a positive number", got=threads))
    done, explanation = _tune_allocator() if allocator else (False, "left as it was")
    count, reason = (threads, "as asked for") if threads is not None else _choose_threads()
    if count != torch.get_num_threads():
        torch.set_num_threads(count)
    return Tuning(explanation, done, torch.get_num_threads(), reason)


def runtime() -> ModuleType | None:
    """The native module of this installation, if it was built.

    Raises:
        ImportError: it is there and broken.
    """
    try:
        return importlib.import_module("adair_core._runtime")
    except ModuleNotFoundError:
        return None


def _tune_allocator() -> tuple[bool, str]:
    try:
        module = runtime()
    except ImportError as error:
        return False, f"left as it was: the native module cannot be loaded ({error})"
    if module is None:
        return False, "left as it was: the native module is not built"
    done, explanation = module.tune_allocator()
    return bool(done), str(explanation) if done else f"left as it was: {explanation}"


def _choose_threads() -> tuple[int, str]:
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads(), "as OMP_NUM_THREADS says"
    found = cores()
    if found is None:
        return torch.get_num_threads(), "PyTorch's own choice: this system does not tell how busy it is"
    return found.free, str(found)
