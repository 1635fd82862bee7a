"""Measure everything that the speed targets speak of, and judge it (about 30 minutes on two idle cores).

    make bench                                # or: python tools/bench_all.py
    python tools/bench_all.py --target 1 --target 2 --threads 1
    python tools/bench_all.py --memory                           # peak memory and time of training steps as well
    python tools/bench_all.py --size smoke --force               # whether all of it runs

A case has as many rounds as its time allows, three at least; the results say how many. Writes
``benchmarks/results/COMMIT-THREADS.json`` with the seconds of every round, and ``.md`` with both tables.
Refuses while other programs run; ``--force`` measures nevertheless and marks the results. The exit code is 1 if a
target's first figure is missed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from adair_core.bench import memory, targets
from adair_core.bench import report as reports
from adair_core.bench.case import OPTIONAL, Size
from adair_core.bench.cases import GROUPS, cases
from adair_core.bench.report import Report, markdown, rates_text
from adair_core.bench.run import Plan, measure, refuse_disturbance
from adair_core.cli.output import print_table
from adair_core.errors import AdairError
from adair_core.tuning import tune_process

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def document(report: Report) -> str:
    """The run as Markdown."""
    machine = report.machine
    lines = [
        f"# Speed at {report.commit or 'an unknown commit'}",
        "",
        f"{report.started}, {machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, capability",
        f"{machine['capability']}, allocator: {machine['allocator']}; {rates_text(report.rates)};",
        f"load before: {report.load}.",
        "Medians of rounds that all competitors take in turn; `adair bench --help` says more.",
        "",
        "## Targets",
        "",
        *(f"- {line}" for line in targets.summary(targets.judge(report))),
        "",
        markdown(targets.HEADINGS, targets.table(targets.judge(report))),
        "",
        "## Times",
        "",
        markdown(reports.HEADINGS, reports.table(report.cases)),
        "",
    ]
    if report.memory:
        lines += ["## Memory of training steps", "", markdown(memory.HEADINGS, memory.table(report.memory)), ""]
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--target", "items", multiple=True, type=click.IntRange(1, 7), help="only this target [default: all]")
@click.option("--threads", type=click.IntRange(min=1), help="threads [default: the idle cores]")
@click.option(
    "--budget", type=click.FloatRange(min=0), default=3.0, show_default=True, help="seconds of a case's rounds"
)
@click.option("--least", type=click.IntRange(min=1), default=3, show_default=True, help="rounds that every case gets")
@click.option("--whole", is_flag=True, help="every way of compiling networks, which takes many more minutes")
@click.option("--memory", "with_memory", is_flag=True, help="measure the peak memory of training steps too")
@click.option("--size", type=click.Choice(["full", "smoke"]), default="full", help="smoke: does all of it run?")
@click.option("--force", is_flag=True, help="measure although other programs run")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="folder [default: benchmarks/results]")
def main(
    items: tuple[int, ...],
    threads: int | None,
    budget: float,
    least: int,
    whole: bool,
    with_memory: bool,
    size: Size,
    force: bool,
    out: Path,
) -> None:
    """Measure, judge, print and write."""
    began = time.monotonic()
    chosen = targets.needed(items or range(1, 8)) if size == "full" else [c for g in GROUPS for c in cases(g, size)]
    rows = (*targets.ROWS, *OPTIONAL) if whole else targets.ROWS
    count = tune_process(threads=threads).threads
    plan = Plan(size=size, threads=count, least=least, budget=budget, only=rows, brief=not whole, memory=with_memory)

    def progress(done: int, total: int) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {done}/{total}", err=True, nl=False)

    try:
        refuse_disturbance(force=force)
        report = measure(chosen, plan, say=lambda name: click.echo(f"  {name}", err=True), progress=progress)
        click.echo(err=True)
        name = f"{(report.commit or 'unknown').rstrip('+')}-{count}{'-dirty' if '+' in (report.commit or '') else ''}"
        report.write(out / f"{name}.json")
        (out / f"{name}.md").write_text(document(report), encoding="utf-8")
    except (AdairError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 1))
    verdicts = [verdict for verdict in targets.judge(report) if not items or verdict.number in items]
    print_table(targets.HEADINGS, targets.table(verdicts))
    click.echo("\n" + "\n".join(targets.summary(verdicts)))
    if report.memory:
        click.echo()
        print_table(memory.HEADINGS, memory.table(report.memory))
    missed = sum(verdict.outcome == "miss" for verdict in verdicts)
    disturbed = sum(case.disturbed for case in report.cases)
    click.echo(f"\n{rates_text(report.rates)}")
    click.echo(f"{len(verdicts)} targets, {missed} missed; {disturbed} of {len(report.cases)} cases disturbed")
    click.echo(f"wrote {out / name}.json and .md after {(time.monotonic() - began) / 60:.1f} minutes")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
