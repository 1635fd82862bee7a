"""The numbers of a run as files: ``metrics.jsonl`` and TensorBoard events."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from typing_extensions import override

from adair_core.training.callbacks import Callback, Run, RunResult, StepRecord, ValidationRecord
from adair_core.training.run_folder import RunFolder, appending, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_FLUSH_SECONDS = 2.0


class MetricsLog(Callback):
    """Appends a line of JSON for every step (``"kind": "step"``), validation and end.

    What a killed run logged after its last checkpoint is dropped at the resume, because those steps are done again. A
    validation of the checkpoint's own step that is made up for is logged once.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.metrics
        self._file: IO[str] | None = None
        self._flushed = 0.0
        self._validated: set[int] = set()

    @override
    def on_start(self, run: Run) -> None:
        """Keep the lines up to the first step and append from there."""
        lines = read_metrics(self._path) if run.start else ()
        kept = [line for line in lines if line["step"] <= run.start and line["kind"] != "end"]
        self._validated = {line["step"] for line in kept if line["kind"] == "validation"}
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")

    @override
    def on_step(self, run: Run, record: StepRecord) -> None:
        """Append the step."""
        self._append("step", dataclasses.asdict(record))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    @override
    def on_validation(self, run: Run, record: ValidationRecord) -> None:
        """Append the validation."""
        if record.step not in self._validated:
            self._append("validation", dataclasses.asdict(record))
            self._flush()

    @override
    def on_checkpoint(self, run: Run, step: int) -> None:
        """Bring the lines to the disk before the checkpoint that makes them final."""
        self._flush(sync=True)

    @override
    def on_end(self, run: Run, result: RunResult) -> None:
        """Append the totals."""
        totals = {"step": result.step, "seconds": result.seconds, "waiting": result.waiting}
        self._append("end", totals)
        self._flush(sync=True)

    @override
    def on_close(self) -> None:
        """Close the file."""
        if self._file is not None:
            # Closing flushes; on a full disk the run has already failed with a better message.
            with suppress(OSError):
                self._file.close()

    def _append(self, kind: str, values: dict[str, Any]) -> None:
        line = json.dumps({"kind": kind, **_readable(values)}) + "\n"
        assert self._file is not None
        with appending(self._path):
            self._file.write(line)

    def _flush(self, *, sync: bool = False) -> None:
        self._flushed = time.monotonic()
        assert self._file is not None
        with appending(self._path):
            self._file.flush()
            if sync:
                os.fsync(self._file.fileno())


class TensorBoard(Callback):
    """Writes TensorBoard events.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.events
        self._writer: SummaryWriter | None = None
        self._hook_before = threading.excepthook

    @override
    def on_start(self, run: Run) -> None:
        """Open a file; what an earlier sitting wrote after the first step is hidden."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        with appending(self._path):
            self._writer = SummaryWriter(str(self._path), purge_step=run.start + 1 if run.start else None)
        self._hook_before, threading.excepthook = threading.excepthook, self._on_thread_error

    @override
    def on_step(self, run: Run, record: StepRecord) -> None:
        """Write the step's numbers."""
        for name in ("loss", "learning_rate", "gradient_norm", "seconds", "waited"):
            self._scalar(f"train/{name}", getattr(record, name), record.step)

    @override
    def on_validation(self, run: Run, record: ValidationRecord) -> None:
        """Write each condition's number and their mean."""
        self._scalar(f"validation/{record.metric}", record.value, record.step)
        for label, value in record.conditions.items():
            self._scalar(f"validation/{record.metric}/{label.replace(' ', '_')}", value, record.step)

    @override
    def on_close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
            self._writer = None
            threading.excepthook = self._hook_before

    def _on_thread_error(self, error: threading.ExceptHookArgs) -> None:
        # The writer's thread hands a full disk to the next add_scalar, and would also print a traceback of its own.
        if not (isinstance(error.exc_value, OSError) and type(error.thread).__name__ == "_AsyncWriterThread"):
            self._hook_before(error)

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            with appending(self._path):
                self._writer.add_scalar(name, value, step)


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Read the complete lines of a ``metrics.jsonl``; the last one may have been cut by a kill."""
    with suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
        for line in file:
            with suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and "step" in record:
                    yield record


def _readable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write numbers that JSON does not have as text."""
    return {
        key: _readable(value)
        if isinstance(value, Mapping)
        else str(value)
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in values.items()
    }
