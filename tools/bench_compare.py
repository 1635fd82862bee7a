"""Compare two benchmark results: how many times as long each competitor takes in the second as in the first.

    python tools/bench_compare.py before.json after.json [--row adair] [--threshold 1.05]

Reads what ``adair bench --out``, ``tools/bench_all.py`` and ``pytest --benchmark-json`` write. A regression is a ratio
whose whole 95 % interval lies above the threshold; the exit code is then 1. The two were not taken in turns: a ratio
also holds what the machine did meanwhile. ``--relative eager`` divides by another competitor of the same run first,
which takes out most of that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from adair_core.bench.ratios import Ratio, ratio
from adair_core.bench.report import Report, milliseconds
from adair_core.cli.output import print_table
from adair_core.errors import AdairError, DataError, UsageError, expected

Times = dict[str, dict[str, tuple[float, ...]]]
"""Case -> competitor -> seconds of the rounds."""


def read_times(path: Path) -> Times:
    """Read a result file of either form.

    Raises:
        DataError: it is neither.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(expected(str(path), expected="a readable benchmark result in JSON", got=str(error))) from error
    if isinstance(content, dict) and "benchmarks" in content:
        times: Times = {}
        for entry in content["benchmarks"]:
            rows = times.setdefault(entry["group"], {})
            rows[entry["extra_info"]["competitor"]] = tuple(entry["stats"]["data"])
        return times
    report = Report.read(path)
    return {case.name: {name: row.seconds for name, row in case.rows.items() if row.seconds} for case in report.cases}


def compare(before: Times, after: Times, *, rows: Sequence[str], relative: str | None) -> dict[tuple[str, str], Ratio]:
    """Divide the times of the second by those of the first.

    Args:
        before: the first.
        after: the second.
        rows: competitors; none for all.
        relative: a competitor by whose median each is divided first.

    Returns:
        Case and competitor -> ratio, for those that both have.
    """
    found = {}
    for case, competitors in after.items():
        for name, seconds in competitors.items():
            earlier = before.get(case, {}).get(name)
            if earlier is None or (rows and name not in rows) or name == relative:
                continue
            if relative is None:
                found[case, name] = ratio(seconds, earlier, paired=False)
            elif relative in competitors and relative in before[case]:
                found[case, name] = ratio(
                    _divided(seconds, competitors[relative]), _divided(earlier, before[case][relative]), paired=False
                )
    return found


def _divided(seconds: Sequence[float], by: Sequence[float]) -> list[float]:
    """Round by round: what slowed a round down slowed both."""
    return [own / other for own, other in zip(seconds, by, strict=True)]


@click.command(help=__doc__)
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--row", "rows", multiple=True, help="competitor that is compared [default: all]")
@click.option("--relative", metavar="ROW", help="divide by this competitor of the same run first")
@click.option("--threshold", type=click.FloatRange(min=1), default=1.05, show_default=True, help="of a regression")
def main(before: Path, after: Path, rows: tuple[str, ...], relative: str | None, threshold: float) -> None:
    """Print the ratios, and end with 1 on a regression."""
    try:
        first, second = read_times(before), read_times(after)
        found = compare(first, second, rows=rows, relative=relative)
        if not found:
            wanted = "two results with cases and competitors in common"
            raise UsageError(expected("results", expected=wanted, got=f"{_counted(first)} and {_counted(second)}"))
    except AdairError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    slower = {key for key, value in found.items() if value.low > threshold}
    faster = {key for key, value in found.items() if value.high < 1 / threshold}
    lines = []
    for (case, name), value in found.items():
        change = "SLOWER" if (case, name) in slower else "faster" if (case, name) in faster else ""
        medians = (_milliseconds(times[case][name]) for times in (first, second))
        lines.append((case, name, *medians, f"{value.value:.3f}", f"{value.low:.3f} - {value.high:.3f}", change))
    print_table(("case", "competitor", "before, ms", "after, ms", "ratio", "95 % interval", ""), lines)
    click.echo(f"\n{len(found)} compared, {len(faster)} faster, {len(slower)} slower by more than {threshold:g}x")
    sys.exit(1 if slower else 0)


def _milliseconds(seconds: Sequence[float]) -> str:
    return milliseconds(sorted(seconds)[len(seconds) // 2])


def _counted(times: Mapping[str, object]) -> str:
    return f"{len(times)} case{'' if len(times) == 1 else 's'}"


if __name__ == "__main__":
    main()
