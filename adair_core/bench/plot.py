"""A picture of a benchmark run: how many times as fast as eager PyTorch each competitor is."""

from __future__ import annotations

from pathlib import Path

from adair_core.bench.case import EAGER
from adair_core.bench.report import Report, rates_text
from adair_core.errors import AdairError
from adair_core.new_folder import make_folder

BAR = 0.22
"""Inches of a bar."""


def draw(report: Report, path: Path) -> None:
    """Draw horizontal bars with the 95 % intervals of their ratios, a group for each case.

    Args:
        report: the run; cases without eager times are left out.
        path: its ending says the kind of file: png, svg, pdf.

    Raises:
        AdairError: it cannot be written.
    """
    from matplotlib.figure import Figure  # slow to import

    cases = [case for case in report.cases if case.has(EAGER)]
    names = list(dict.fromkeys(name for case in cases for name, row in case.rows.items() if row.seconds))
    colors = {name: f"C{index % 10}" for index, name in enumerate(names)}
    lines = [(case, name) for case in cases for name in names if case.has(name)]
    figure = Figure(figsize=(9, 1.6 + BAR * (len(lines) + len(cases))))
    axes = figure.subplots()
    place, ticks, labels = 0.0, [], []
    for case in cases:
        start = place
        for name in names:
            if not case.has(name):
                continue
            found = case.ratio(EAGER, name)
            spread = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
            axes.barh(place, found.value, xerr=spread, color=colors[name], label=name, error_kw={"elinewidth": 0.8})
            place += 1
        ticks.append((start + place - 1) / 2)
        labels.append(case.name + (" (disturbed)" if case.disturbed else ""))
        place += 1
    axes.axvline(1.0, color="0.5", linewidth=0.8)
    axes.set_yticks(ticks, labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as eager")
    machine = report.machine
    axes.set_title(
        f"{machine.get('cpu')}, {machine.get('threads')} threads, torch {machine.get('torch')}\n"
        f"{rates_text(report.rates)}",
        fontsize=8,
    )
    handles, texts = axes.get_legend_handles_labels()
    unique = dict(zip(texts, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), fontsize=7, loc="best")
    try:
        make_folder(path.parent)
        figure.savefig(path, dpi=130, bbox_inches="tight")
    except ValueError as error:
        raise AdairError(f"{path}: expected a file name that ends in .png, .svg or .pdf ({error})") from error
