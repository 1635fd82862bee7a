"""How the commands set their own process up: ``--threads``, and the environment variable ``ADAIR_TUNE``."""

from __future__ import annotations

import os
from typing import Any

import click
import rich_click

from adair_core.cli.output import say
from adair_core.threads import cores, usable_cpus
from adair_core.tuning import OPT_OUT, Tuning, tune_process


def threads_option(function: Any) -> Any:
    """Decorate a command with ``--threads``."""
    text = "threads that compute on the CPU [default: OMP_NUM_THREADS, or the cores that are idle]"
    return rich_click.option("--threads", type=click.IntRange(min=1), metavar="N", help=text)(function)


def tune(threads: int | None, *, recorded: int | None = None) -> Tuning | None:
    """Tune the process, unless ``ADAIR_TUNE=0``.

    Args:
        threads: of ``--threads``.
        recorded: of the recipe that a run repeats or continues. Another number can change the last bits of PyTorch's
            sums: it gets the same one unless ``--threads`` or OMP_NUM_THREADS say otherwise, or the machine is smaller.

    Returns:
        What was done; ``None`` if nothing.
    """
    if os.environ.get(OPT_OUT) == "0":
        return None if threads is None else tune_process(allocator=False, threads=threads)
    if threads is None and recorded is not None and not os.environ.get("OMP_NUM_THREADS"):
        found = cores()
        if recorded <= usable_cpus():
            if found is not None and found.free != recorded:
                plural = "" if recorded == 1 else "s"
                say(
                    f"computing with {recorded} thread{plural}, as the recipe did; its last bits depend on that "
                    f"(--threads {found.free} would suit this machine now: {found})"
                )
            threads = recorded
    return tune_process(threads=threads)
