"""``adair bench``: how fast this machine is, with adair and with PyTorch alone."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import click
import rich_click

from adair_core.cli.command import Command
from adair_core.cli.output import print_json, print_table, say, steps_shown
from adair_core.cli.process import threads_option, tune
from adair_core.errors import UsageError, expected

WHAT = ("op", "block", "model", "adapter", "train", "mixed")


@rich_click.command(
    "bench",
    cls=Command,
    examples=[
        "bench --quick",
        "bench --what model --what train --threads 2 --out results.json --plot speed.png",
        "bench --what op --filter 'op/feed_forward*/float32' --json > results.json",
    ],
)
@rich_click.option("--what", multiple=True, type=click.Choice(WHAT), help="what is measured [default: op, block]")
@rich_click.option("--quick", is_flag=True, help="smaller images and fewer rounds, for a first impression")
@rich_click.option("--filter", "pattern", default="*", metavar="GLOB", help="only the cases of matching names")
@rich_click.option("--row", "rows", multiple=True, metavar="NAME", help="only these competitors, such as adair")
@threads_option
@rich_click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="rounds of each case [default: 5 to 40]")
@rich_click.option(
    "--memory", "with_memory", is_flag=True, help="peak memory of training steps too, by adair and eager"
)
@rich_click.option("--list", "as_list", is_flag=True, help="print the names of the cases and stop")
@rich_click.option("--json", "as_json", is_flag=True, help="print JSON, with the seconds of every round")
@rich_click.option("--out", "-o", type=click.Path(path_type=Path), help="file for the same JSON")
@rich_click.option("--plot", type=click.Path(path_type=Path), help="picture of the speeds, .png, .svg or .pdf")
def command(
    what: tuple[str, ...],
    quick: bool,
    pattern: str,
    rows: tuple[str, ...],
    threads: int | None,
    rounds: int | None,
    with_memory: bool,
    as_list: bool,
    as_json: bool,
    out: Path | None,
    plot: Path | None,
) -> None:
    """Measure this machine: adair beside eager and compiled PyTorch, and beside PEFT where it is installed.

    Competitors take turns, round by round, with the same threads; all have an allocator that keeps large blocks, except
    the row "stock eager", which runs in a process of its own. Each time is compared with what the measured rates of
    matrix products and copies allow, and each result with float64. Cases during which other programs ran are marked.
    """
    import torch

    from adair_core.bench.case import Size
    from adair_core.bench.cases import cases
    from adair_core.bench.run import Plan, measure

    size: Size = "quick" if quick else "full"
    chosen = [
        case for group in what or ("op", "block") for case in cases(group, size) if fnmatchcase(case.name, pattern)
    ]
    if not chosen:
        raise UsageError(
            expected("--filter", expected="a pattern that matches a case", got=repr(pattern), hint="see --list")
        )
    if as_list:
        for case in chosen:
            click.echo(case.name)
        return
    tune(threads)
    least, most = (rounds, rounds) if rounds else (3, 10) if quick else (5, 40)
    plan = Plan(
        size=size,
        threads=torch.get_num_threads(),
        least=least,
        most=most,
        budget=1.0 if quick else 5.0,
        only=rows or None,
        memory=with_memory,
    )
    with steps_shown("measuring") as shown:
        report = measure(chosen, plan, say=lambda _: None, progress=shown.advance)
    if not any(row.seconds for case in report.cases for row in case.rows.values()):
        say("no competitor could be timed; the notes say why")
    if out is not None:
        report.write(out)
        say(f"wrote {out}")
    if plot is not None:
        from adair_core.bench.plot import draw

        draw(report, plot)
        say(f"wrote {plot}")
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    from adair_core.bench.report import HEADINGS, rates_text, table

    machine = report.machine
    click.echo(
        f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, {machine['capability']}, "
        f"allocator {machine['allocator']}, load {report.load}\n{rates_text(report.rates)}\n"
    )
    print_table(HEADINGS, table(report.cases))
    if report.memory:
        from adair_core.bench import memory

        click.echo()
        print_table(memory.HEADINGS, memory.table(report.memory))
    disturbed = sum(case.disturbed for case in report.cases)
    if disturbed:
        click.echo(f"\n{disturbed} of {len(report.cases)} cases were DISTURBED by other programs: measure them again.")
