"""Clean images or real pairs, as several commands take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import rich_click

from adair_core.errors import UsageError, expected


def pairs_option(function: Any) -> Any:
    """Decorate a command with ``--pairs``."""
    folder = click.Path(path_type=Path)
    text = "folders of real pairs, matched by name"
    return rich_click.option("--pairs", nargs=2, type=folder, metavar="INPUT TARGET", help=text)(function)


def refuse_both(data: object, pairs: object) -> None:
    """Check that not both kinds of images were given.

    Raises:
        UsageError: they were.
    """
    if data and pairs:
        raise UsageError(expected("data", expected="--data (clean images) or --pairs, not both", got="both"))
