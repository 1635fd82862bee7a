"""What goes to standard output: tables for people, JSON for programs.

Messages, warnings and progress bars go to standard error, so that ``--json`` output can be piped.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


def color_system() -> Literal["auto"] | None:
    """What rich may use: under ``NO_COLOR`` nothing, not even the bold type that rich itself would leave."""
    return None if os.environ.get("NO_COLOR") else "auto"


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become the strings ``Infinity`` and ``NaN``.

    Characters that standard output cannot hold are escaped, as JSON does: names are whole whatever reads them.
    """
    value = _finite(value)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    click.echo(text)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; in a pipe, with one line a row however long."""
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    show(table)


def show(renderable: RenderableType) -> None:
    """Print something that rich can render: as wide as the terminal, or as it needs when piped."""
    width = None if sys.stdout.isatty() else 10_000
    if isinstance(renderable, Table) and width is not None:
        renderable.box = None
    console = Console(width=width, color_system=color_system(), highlight=False, markup=False, emoji=False)
    console.print(renderable, soft_wrap=False)


def say(message: str) -> None:
    """Tell the user something, on standard error."""
    click.echo(message, err=True)


CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}


def in_one_line(text: str) -> str:
    r"""Escape the line breaks, other control characters and bytes that are no text, which names of files may hold.

    >>> print(in_one_line("restored: a\nb.png"))
    restored: a\nb.png
    """
    return text.encode(errors="backslashreplace").decode().translate(CONTROLS)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


QUIET = 30.0
"""Seconds between two lines about progress where there is no terminal."""


def duration(seconds: float) -> str:
    """Say a time in the unit that people would.

    >>> [duration(seconds) for seconds in (0.4, 59, 90, 5400, 200_000)]
    ['1 s', '59 s', '2 min', '1.5 h', '56 h']
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"


class Steps:
    """A count of things done, with the time left: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, title: str) -> None:
        self._console = Console(stderr=True, color_system=color_system(), highlight=False, markup=False, emoji=False)
        self._progress: Progress | None = None
        self._title, self._start = title, time.monotonic()
        self._told = self._start
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.add_task(title, total=None)
            self._progress.start()

    def advance(self, done: float, total: int) -> None:
        """So many of so many are done, the last one perhaps in part."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, total=total)
        elif time.monotonic() - self._told > QUIET and 0 < done < total:
            share = done / total
            left = (time.monotonic() - self._start) * (1 - share) / share
            self.say(f"{self._title}: {share:.0%}, about {duration(left)} left")

    def say(self, message: str) -> None:
        """Print a line, above the bar if there is one."""
        self._told = time.monotonic()
        if self._progress is not None:
            self._console.print(message, soft_wrap=True)
        else:
            say(message)

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def steps_shown(title: str) -> Iterator[Steps]:
    """Show progress on standard error as long as the context lasts."""
    steps = Steps(title)
    try:
        yield steps
    finally:
        steps.close()
