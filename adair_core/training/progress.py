"""What the person at the terminal sees of a run."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from typing_extensions import override

from adair_core.training.callbacks import Callback, Run, RunResult, StepRecord, ValidationRecord

_LINE_SECONDS = 10.0


class ProgressReport(Callback):
    """A progress bar with loss, learning rate and the last validation on a terminal; plain lines elsewhere.

    Args:
        title: what is being trained, in a few words.
        console: where to; standard error by default, so that results on standard output stay clean.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._last_line = 0.0
        self._started = 0.0
        self._validation = ""

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @override
    def on_start(self, run: Run) -> None:
        """Show the bar."""
        self._started = self._last_line = time.monotonic()
        self.say(f"{self._title}, {run.recipe.settings.steps} steps")
        if self._console.is_terminal:
            self._progress = Progress(
                BarColumn(bar_width=None),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TimeRemainingColumn(table_column=Column(no_wrap=True)),
                TextColumn("left {task.fields[numbers]}", table_column=Column(no_wrap=True)),
                console=self._console,
            )
            self._progress.add_task("", total=run.recipe.settings.steps, completed=run.start, numbers="")
            self._progress.start()

    @override
    def on_step(self, run: Run, record: StepRecord) -> None:
        """Move the bar, or print a line now and then."""
        numbers = f"loss {record.loss:.4f} lr {record.learning_rate:.2e}{self._validation}"
        steps = run.recipe.settings.steps
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=record.step, numbers=numbers)
        elif time.monotonic() - self._last_line > _LINE_SECONDS or record.step == steps:
            self._last_line = time.monotonic()
            left = (self._last_line - self._started) / (record.step - run.start) * (steps - record.step)
            self.say(f"step {record.step}/{steps} {numbers} left {_duration(left)}")

    @override
    def on_validation(self, run: Run, record: ValidationRecord) -> None:
        """Print the validation's numbers."""
        self._validation = f" {record.metric} {record.value:.2f}"
        conditions = ", ".join(
            f"{label}: {record.inputs[label]:.2f} -> {value:.2f}" for label, value in record.conditions.items()
        )
        best = ", the best so far" if record.best else ""
        self.say(f"validation at step {record.step}: {record.metric} {record.value:.2f} ({conditions}){best}")

    @override
    def on_end(self, run: Run, result: RunResult) -> None:
        """Say what came out."""
        self.on_close()
        self.say(
            f"trained {result.step} steps in {_duration(result.seconds)}; "
            f"{result.waiting:.1%} of the time was spent waiting for data; wrote {result.weights}"
        )

    @override
    def on_close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
