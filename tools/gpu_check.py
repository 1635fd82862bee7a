"""Everything that needs a GPU, in one command: builds, checks and times the CUDA kernels where there is a card.

    python tools/gpu_check.py run                first the steps of correctness, then all measurements
    python tools/gpu_check.py run --first        only what belongs to the first visit, within nine minutes
    python tools/gpu_check.py run --step block   this step, again
    python tools/gpu_check.py run --dry-run      rehearse everything but the GPU itself on a CPU
    python tools/gpu_check.py run --help         all options

What it asks of a machine, how to bring it there, and how to go on after a visit: docs/kernels.md, "A visit to a GPU".
"""

from __future__ import annotations

import sys

from gpu_checks.prerequisites import advice


def main() -> None:
    """Say what is missing here; if nothing is, do what was asked for."""
    lacking = advice(building=not {"perform", "--built", "--dry-run"} & set(sys.argv))
    if lacking is not None:
        sys.exit(lacking)
    from gpu_checks.command import main as command

    command()


if __name__ == "__main__":
    main()
