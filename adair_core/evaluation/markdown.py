"""A comparison as Markdown, for an issue, a README or a paper's repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from adair_core.evaluation.cells import mean_cell
from adair_core.evaluation.comparison import DIFFERENCE_HEADINGS, Comparison, difference_cells

# Brackets of intervals stay as they are ("\[" begins a formula for some readers), those of a link do not.
_SPECIAL = re.compile(r"([\\`*_{}<>#|~]|(?<=\])\()")


def markdown(comparison: Comparison) -> str:
    """Write means, differences, remarks and the protocol as Markdown with pipe tables."""
    first = comparison.first
    headings = ["condition", "candidate", *(first.metric_title(name) for name in comparison.metrics)]
    means = [
        [
            span if candidate == comparison.reference else "",
            candidate,
            *(mean_cell(found, first.decimals(name)) for name, found in by_metric.items()),
        ]
        for span, of_span in comparison.means().items()
        for candidate, by_metric in of_span.items()
    ]
    differences = [difference_cells(comparison, pair) for pair in comparison.differences]
    protocol = first.protocol.model_dump_json(indent=2, exclude={"data_sets", "note"})
    software = ", ".join(f"{name} {version}" for name, version in first.software.items())
    return "\n".join(
        [
            f"# {_escaped(first.title())}",
            "",
            *_table(headings, means, left=2),
            "",
            f"## Differences from {_escaped(comparison.reference)}",
            "",
            *_table(DIFFERENCE_HEADINGS, differences, left=3),
            "",
            *(f"- {_escaped(remark)}" for remark in comparison.remarks()),
            "",
            "## Protocol",
            "",
            _escaped(first.protocol.note),
            "",
            "```json",
            protocol,
            "```",
            "",
            f"Measured with {software}." if software else "",
            "",
        ]
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    rule = ["---" if column < left else "---:" for column in range(len(headings))]
    return [_line(map(_escaped, headings)), _line(rule), *(_line(map(_escaped, row)) for row in rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
