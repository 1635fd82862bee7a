"""Running the program inside a test."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a command line did.

    Attributes:
        exit_code: 0; 1, the work failed; 2, the request was wrong; 130, interrupted.
        stdout: results.
        stderr: messages.
    """

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output, parsed."""
        return json.loads(self.stdout)


def run_program(*arguments: object) -> Outcome:
    """Run ``adair`` in this process.

    Args:
        arguments: without the program's name; each is turned into text.
    """
    from adair_core.cli.program import run

    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        exit_code = run([str(argument) for argument in arguments])
    return Outcome(exit_code, stdout.getvalue(), stderr.getvalue())
