"""What goes to standard output: tables for people, JSON for programs.

Messages, warnings and progress bars go to standard error, so that ``--json`` output can be piped.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.table import Table


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become the strings ``Infinity`` and ``NaN``."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; in a pipe, with one line a row however long."""
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    show(table)


def show(renderable: RenderableType) -> None:
    """Print something that rich can render: as wide as the terminal, or as it needs when piped."""
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, highlight=False, markup=False, emoji=False).print(renderable, soft_wrap=False)


def say(message: str) -> None:
    """Tell the user something, on standard error."""
    click.echo(message, err=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
