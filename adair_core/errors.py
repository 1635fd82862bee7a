"""Every error that adair raises on purpose.

A message says what was wrong, what was expected, what came and what to do now. The command line prints it
without a traceback and exits with 1 (the work failed), 2 (the request itself was wrong) or 130 (interrupted).
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Sequence


class AdairError(Exception):
    """Base of all errors that adair raises on purpose.

    Attributes:
        exit_code: what the command line exits with: 1, the work failed; 2, the request was wrong; 130, interrupted.
    """

    exit_code = 1


class UsageError(AdairError):
    """The request itself is wrong: an unknown option, a value out of range, names that do not fit together."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that no plugin offers.

    Args:
        kind: what was asked for, such as ``"task"``.
        name: the name that came.
        known: the names that exist.
        failed_plugins: how many plugins failed to load; the name may be one of theirs.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, failed_plugins: int = 0) -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        close = difflib.get_close_matches(name, self.known, n=1)
        parts = [f"unknown {kind} {name!r}"]
        if close:
            parts.append(f"did you mean {close[0]!r}?")
        text = "; ".join(parts)
        separator = " " if close else "; "
        text += f"{separator}known: {', '.join(self.known) or 'none'}"
        if failed_plugins:
            plural = "" if failed_plugins == 1 else "s"
            text += f"; {failed_plugins} plugin{plural} failed to load, see 'adair plugins'"
        super().__init__(text)


class DuplicateNameError(AdairError):
    """Two packages, or one package twice, offer the same name."""

    def __init__(self, kind: str, name: str, *, first: str, second: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(
            f"{kind} {name!r} is offered by both {first} and {second}; names are never replaced silently: "
            f"rename one of them or uninstall one of the packages"
        )


class PluginError(AdairError):
    """A plugin failed to import, registered something invalid or raised in a hook."""


class DataError(AdairError):
    """An image or a folder of images cannot be used: missing, empty, corrupt, too small, not paired."""


class WeightsError(AdairError):
    """A weights file cannot be used: truncated, of another format, or not for this network."""


class BaseMismatchError(WeightsError):
    """An adapter was trained on another base than the one it is being loaded on."""


class RunFolderError(AdairError):
    """A run folder cannot be used: taken by a running process, not writable, or of another recipe."""


class TrainingError(AdairError):
    """Training cannot go on, for instance because the loss is no longer finite."""


class Interrupted(AdairError):  # noqa: N818 - it is a request that was obeyed, not a mistake
    """The user stopped a run; its checkpoint is written and the message says how to go on."""

    exit_code = 130


_OUT_OF_MEMORY = re.compile(
    r"allocate memory"  # PyTorch's allocator for CPUs: "can't allocate memory"
    r"|^could not create a primitive$"  # oneDNN's, without the reason: seen under a limit of memory
    r"|\b(?:CUDA|HIP|MPS backend) out of memory"  # its allocators for GPUs, where it has no exception of its own
    r"|^Invalid buffer size\b"  # Metal's, of more than a buffer may hold
    r"|\b(?:error|launched): out of memory"  # the driver's word: "CUDA error: out of memory"
    r"|\bCU[A-Z]+_STATUS_ALLOC_FAILED\b"  # the libraries'
    r"|\bCUDNN_STATUS_INTERNAL_ERROR_(?:HOST|DEVICE)_ALLOCATION_FAILED\b"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, of this machine or of a device.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"))
    True
    >>> is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    False
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch has an exception for its allocators on GPUs; everything else it raises as a bare RuntimeError.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None)
    )


def expected(what: str, *, expected: str, got: object, hint: str = "") -> str:
    """Phrase an error message in the project's one form.

    >>> expected("patch size", expected="a multiple of 8", got=13, hint="try 16")
    'patch size: expected a multiple of 8, got 13; try 16'
    """
    return f"{what}: expected {expected}, got {got}" + (f"; {hint}" if hint else "")


def listing(items: Sequence[object], *, limit: int = 5) -> str:
    """List the first items and count the rest.

    >>> listing(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(item) for item in items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
