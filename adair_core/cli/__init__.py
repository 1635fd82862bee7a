"""The command line, ``adair``.

``commands/`` holds one file for each command; the other files are what the commands share.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run ``adair`` with the process's arguments and exit."""
    from adair_core.cli.streams import prepare_streams

    prepare_streams()  # before anything else is opened
    from adair_core.cli.program import run

    sys.exit(run(sys.argv[1:]))
