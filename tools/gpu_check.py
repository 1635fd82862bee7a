"""Everything that needs a GPU, in one command: builds, checks and times the CUDA kernels where there is a card.

    python tools/gpu_check.py run                first the steps of correctness, then all measurements
    python tools/gpu_check.py run --first        only what belongs to the first visit
    python tools/gpu_check.py run --optional     also torch.compile's max-autotune, one size a step
    python tools/gpu_check.py run --step block   this step, again
    python tools/gpu_check.py run --dry-run      rehearse everything but the GPU itself on a CPU

Each step is a process of its own with a time limit of at most three minutes: one that fails, hangs or crashes is
reported and the others run. What passed is not run again unless the commit has changed; so the command can be stopped
and repeated. --out gets report.json and report.md, small enough to keep.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path

import click
from gpu_checks import report
from gpu_checks.apart import FOUND, apart
from gpu_checks.device import chosen
from gpu_checks.steps import STEPS, TINY

from adair_core.atomic_file import write_atomically
from adair_core.bench.run import commit

OUT = Path("runs/gpu-check")


@click.group(help=__doc__)
def main() -> None:
    """See the module."""


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--step", "names", multiple=True, type=click.Choice(list(STEPS)), help="only these, even if they passed")
@click.option("--first", is_flag=True, help="only the steps of the first visit")
@click.option("--optional", is_flag=True, help="also the steps that take long for what they tell")
@click.option("--budget", type=float, help="seconds after which no further step begins")
@click.option("--dry-run", is_flag=True, help="rehearse on the CPU")
def run(out: Path, names: tuple[str, ...], first: bool, optional: bool, budget: float | None, dry_run: bool) -> None:
    """Run the steps that have not passed yet. Exits with 1 if one has failed."""
    begun = time.monotonic()
    version = commit()
    results = {}
    for step in STEPS.values():
        file = out / "steps" / f"{step.name.replace(' ', '-')}.json"
        done = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        known = done is not None and done["status"] == "passed" and done["commit"] == version
        fits = (step.first or not first) and (optional or dry_run or not step.optional)
        wanted = step.name in names if names else fits and not known
        late = budget is not None and time.monotonic() - begun > budget
        if wanted and not late:
            click.echo(f"{step.name}: {step.summary}")
            words = [sys.executable, str(Path(__file__).absolute()), "perform", step.name]
            found = apart([*words, "--dry-run"] if dry_run else words, limit=step.limit)
            done = {**found, "commit": version, "dry_run": dry_run}
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(done, indent=1).encode())
            click.echo(f"  {done['status']} in {done['seconds']:.0f} s")
        if done is not None:
            results[step.name] = done
            report.write(out, results)
    click.echo(f"wrote {out / 'report.md'}")
    failed = [name for name, done in results.items() if done["status"] != "passed"]
    if failed:
        click.echo(f"failed: {', '.join(failed)}", err=True)
        sys.exit(1)


@main.command()
@click.argument("name", type=click.Choice([*STEPS, TINY.name]))
@click.option("--dry-run", is_flag=True, help="on the CPU")
def perform(name: str, dry_run: bool) -> None:
    """Run one step in this process, and print what it found as JSON. `run` calls this."""
    step = TINY if name == TINY.name else STEPS[name]
    try:
        found = step.run(chosen(dry_run=dry_run))
    except Exception:
        traceback.print_exc()
        sys.exit(3)
    click.echo(FOUND + json.dumps(found))
    sys.exit(1 if found["failures"] else 0)


if __name__ == "__main__":
    main()
