"""The command: which steps run, what is kept of them, and one step in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import click
import torch

from adair_core.atomic_file import write_atomically
from adair_core.bench.run import commit
from adair_core.ops.native import cuda_library
from gpu_checks import report
from gpu_checks.apart import FOUND, apart
from gpu_checks.device import Device, chosen
from gpu_checks.sources import digest
from gpu_checks.steps import STEPS, TINY, Step

OUT = Path("runs/gpu-check")
REHEARSED = Path("runs/gpu-check-rehearsal")
PROGRAM = Path(__file__).parents[1] / "gpu_check.py"
FIRST_BUDGET = 540.0
"""Seconds of a first visit."""
LEAST = 30.0
"""Seconds that must be left for another step to begin."""
REFUSED = 4
"""Exit status of a step that would not have run the kernels."""


@click.group()
def main() -> None:
    """Build, check and time the CUDA kernels where there is a GPU."""


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help=f"default: {OUT}; of a rehearsal {REHEARSED}")
@click.option("--step", "names", multiple=True, type=click.Choice(list(STEPS)), help="only these, even if they passed")
@click.option("--first", is_flag=True, help=f"only the steps of the first visit; --budget {FIRST_BUDGET:.0f} with it")
@click.option("--optional", is_flag=True, help="also the steps that take long for what they tell")
@click.option("--budget", type=float, help="seconds for all: no step begins or goes on after them")
@click.option("--built", is_flag=True, help="the kernels were built before: leave the step build out")
@click.option("--dry-run", is_flag=True, help="rehearse everything but the GPU itself on the CPU")
def run(
    out: Path | None,
    names: tuple[str, ...],
    first: bool,
    optional: bool,
    budget: float | None,
    built: bool,
    dry_run: bool,
) -> None:
    """Run the steps that have not passed yet.

    Each is a process of its own with a time limit of at most three minutes: one that fails, hangs or crashes is
    reported, and the others run. What passed is not run again, as long as the code, PyTorch and the card are the same:
    so the command can be stopped, and repeated to go on. Writes report.json, report.md and the output of each step.
    Exits with 1 if a step failed, and says which have not run yet.
    """
    ends = time.monotonic() + (budget or (FIRST_BUDGET if first else float("inf")))
    out = out or (REHEARSED if dry_run else OUT)
    key = {"sources": digest(), "torch": torch.__version__, "card": _card(), "dry_run": dry_run}
    results: dict[str, dict[str, Any]] = {}
    later, refused = [], False
    for step in STEPS.values():
        kept = _kept(out, step, key)
        fits = (step.first or not first) and (optional or dry_run or not step.optional)
        fits = fits and not (built and step.name == "build")
        if not (step.name in names if names else fits and (kept is None or step.anew)):
            if kept is not None:
                results[step.name] = kept
            continue
        left = ends - time.monotonic()
        if left < LEAST:
            later.append(step.name)
            continue
        click.echo(f"{step.name}: {step.summary}")
        if refused and step.kernels:
            found: dict[str, Any] = {"status": "refused", "seconds": 0.0, "output": ["no kernels, as before"]}
        else:
            found = _perform(out, step, limit=min(step.limit, left), dry_run=dry_run)
        refused = refused or found["status"] == "refused"
        done = {**found, "commit": commit(), "key": key}
        write_atomically(_file(out, step), json.dumps(done, indent=1).encode())
        click.echo(f"  {done['status']} in {done['seconds']:.0f} s")
        results[step.name] = done
        report.write(out, results)
    report.write(out, results, later=later)
    click.echo(f"wrote {out / 'report.md'}")
    if later:
        click.echo(f"no time was left for: {', '.join(later)}; the same command goes on with them")
    failed = [name for name, done in results.items() if done["status"] != "passed"]
    if failed:
        click.echo(f"failed: {', '.join(failed)}", err=True)
        sys.exit(1)


def _perform(out: Path, step: Step, *, limit: float, dry_run: bool) -> dict[str, Any]:
    words = [sys.executable, str(PROGRAM), "perform", step.name]
    log = out / "logs" / f"{step.file_name}.txt"
    found = apart([*words, "--dry-run"] if dry_run else words, limit=limit, log=log)
    return {**found, "status": "refused"} if found["status"] == f"crashed ({REFUSED})" else found


def _file(out: Path, step: Step) -> Path:
    file = out / "steps" / f"{step.file_name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _kept(out: Path, step: Step, key: dict[str, Any]) -> dict[str, Any] | None:
    """The result of an earlier run, if it passed and is of the same code, PyTorch and card."""
    file = _file(out, step)
    done: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return done if done is not None and done["status"] == "passed" and done.get("key") == key else None


def _card() -> str:
    """The name of the first card; from the driver, as PyTorch would take memory of it for as long as this runs."""
    if shutil.which("nvidia-smi") is None:
        return "none"
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.partition("\n")[0]


@main.command()
@click.argument("name", type=click.Choice([*STEPS, TINY.name]))
@click.option("--dry-run", is_flag=True, help="on the CPU")
def perform(name: str, dry_run: bool) -> None:
    """Run one step in this process, and print what it found as JSON. `run` calls this."""
    step = TINY if name == TINY.name else STEPS[name]
    try:
        device = chosen(dry_run=dry_run)
        reason = obstacle(step, device)
        if reason is not None:
            click.echo(reason)
            sys.exit(REFUSED)
        found = step.run(device)
    except Exception:
        traceback.print_exc()
        sys.exit(3)
    click.echo(FOUND + json.dumps(found))
    sys.exit(1 if found["failures"] else 0)


def obstacle(step: Step, device: Device) -> str | None:
    """Why a step would check or time the references instead of the kernels; ``None`` if it would not."""
    if device.rehearsal or not step.kernels or cuda_library().loaded:
        return None
    library = cuda_library()
    what = f"{library.path} cannot be used: {library.error}" if library.path else "the library for CUDA is not built"
    return f"{step.name}: {what}; expected the kernels that the step 'build' makes: look at its output first"
