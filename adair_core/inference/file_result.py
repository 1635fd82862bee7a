"""What becomes of a file that is restored."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adair_core.errors import AdairError, UsageError, is_out_of_memory
from adair_core.inference.outputs import Job

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class FileResult:
    """What became of a file.

    Attributes:
        source: the image or video.
        output: where the restored one is, or would be.
        status: ``skipped`` if the output was there already and that was asked for; ``left alone`` if `Choose` said so.
        message: why it failed or was left alone, or what could not be kept; empty for nothing to say.
        seconds: that it took to read, restore and write.
        is_disk_full: it failed because the disk is full, or is only read, as all others would.
    """

    source: Path
    output: Path
    status: Literal["restored", "skipped", "left alone", "failed"]
    message: str = ""
    seconds: float = 0.0
    is_disk_full: bool = False


OnResult = Callable[[FileResult, int, int], None]
"""Called after each file with its result, how many are done and how many there are."""


def failure_of(job: Job, error: BaseException, seconds: float) -> FileResult:
    """Say why a file failed.

    Raises:
        BaseException: `error`, if it is not the file's.
    """
    if isinstance(error, OSError):
        message = f"{error.filename or job.output}: {error.strerror or error}"
    elif isinstance(error, AdairError) and not isinstance(error, UsageError):
        message = str(error)
        if str(job.source) not in message and str(job.output) not in message:
            message = f"{job.source}: {message}"
    elif isinstance(error, (MemoryError, RuntimeError)) and is_out_of_memory(error):
        message = f"{job.source}: not enough memory to restore it in one piece this large; try smaller tiles"
    else:
        raise error
    system = error if isinstance(error, OSError) else error.__cause__
    is_full = isinstance(system, OSError) and system.errno in FULL
    return FileResult(job.source, job.output, "failed", message, seconds, is_full)
