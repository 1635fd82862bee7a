"""What a benchmark run found: a file of JSON, and tables made from it.

The file holds the seconds of every round, so that medians, ratios and intervals can be computed again, and everything
that the numbers depend on: machine, software, threads, allocator, the rates that the machine reached, what else ran.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from adair_core.bench.case import EAGER, OTHERS
from adair_core.bench.machine import BUSY
from adair_core.bench.memory import Memory
from adair_core.bench.ratios import Ratio, ratio
from adair_core.errors import DataError, expected
from adair_core.new_folder import make_folder
from adair_core.specs import Config

FORMAT = "adair-bench-1"


class RowResult(Config):
    """One competitor in one case.

    Attributes:
        seconds: of one call, one for each round.
        error: |result - exact| / |exact| against float64; ``None`` where it was not computed.
        saved: bytes kept for the backward pass; ``None`` where it was not measured.
        failure: why it could not be measured.
        prepared: seconds of the first calls: building, compiling, warming up.
    """

    seconds: tuple[float, ...] = ()
    error: float | None = None
    saved: int | None = None
    failure: str | None = None
    prepared: float = 0.0

    @property
    def median(self) -> float:
        """Seconds; ``nan`` without rounds."""
        return statistics.median(self.seconds) if self.seconds else math.nan


class CaseResult(Config):
    """All competitors of one case, timed in turn.

    Attributes:
        group: op, block, model, adapter, train or mixed.
        what: was measured.
        shape: of the input.
        precision: float32, bfloat16 (weights and activations) or autocast.
        rows: by competitor.
        flops: of the plain form.
        bytes: that must be moved.
        floor: seconds that the roofline allows.
        images: in a batch.
        features: bytes of all blocks' inputs.
        shares: additional operations of a competitor, as a fraction.
        others: processors that other programs kept busy meanwhile; ``None`` where the system does not say.
    """

    group: str
    what: str
    shape: str
    precision: str
    rows: dict[str, RowResult]
    flops: int
    bytes: int
    floor: float
    images: int = 1
    features: int | None = None
    shares: dict[str, float] = Field(default_factory=dict)
    others: float | None = None

    @property
    def name(self) -> str:
        """As `Case.name`."""
        return f"{self.group}/{self.what}/{self.shape}/{self.precision}"

    @property
    def disturbed(self) -> bool:
        """Whether other programs ran meanwhile."""
        return self.others is not None and self.others > BUSY

    def has(self, *names: str) -> bool:
        """Whether all of these competitors were timed."""
        return all(name in self.rows and self.rows[name].seconds for name in names)

    def ratio(self, above: str, below: str) -> Ratio:
        """How many times as long `above` takes as `below`."""
        return ratio(self.rows[above].seconds, self.rows[below].seconds)

    def best_other(self) -> str | None:
        """The fastest of PyTorch's ways."""
        timed = [name for name in OTHERS if self.has(name)]
        return min(timed, key=lambda name: self.rows[name].median) if timed else None

    def fraction(self, name: str) -> float:
        """Which part of a competitor's time the roofline allows."""
        return self.floor / self.rows[name].median


class Report(Config):
    """A run.

    Attributes:
        format: of the file.
        commit: of the source, if it is known.
        started: time in UTC.
        machine: what it ran on, see `adair_core.bench.machine.describe`.
        load: the system's load averages before the run.
        rates: operations and bytes a second that the machine reached, by dtype.
        cases: in the order in which they were measured.
        memory: of training steps, where it was measured.
    """

    format: str = FORMAT
    commit: str | None = None
    started: str
    machine: dict[str, Any]
    load: str
    rates: dict[str, dict[str, float]]
    cases: tuple[CaseResult, ...]
    memory: tuple[Memory, ...] = ()

    def case(self, name: str) -> CaseResult | None:
        """The case of a name."""
        return next((case for case in self.cases if case.name == name), None)

    def write(self, path: Path) -> None:
        """Write the file."""
        make_folder(path.parent)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read a file.

        Raises:
            DataError: it is missing or something else.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(expected(str(path), expected="a readable benchmark result", got=str(error))) from error
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                got = f"format {content.get('format')!r}" if isinstance(content, dict) else type(content).__name__
                raise DataError(expected(str(path), expected=f"a benchmark result, format {FORMAT!r}", got=got))
            return cls.model_validate(content)
        except (json.JSONDecodeError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(expected(str(path), expected="a benchmark result in JSON", got=reason)) from error


HEADINGS = ("case", "competitor", "ms", "vs eager", "95 % interval", "of roof", "error", "rounds", "note")


def table(cases: Sequence[CaseResult]) -> list[tuple[str, ...]]:
    """Make rows for `HEADINGS`: the time of each competitor, and how many times as fast as eager it is."""
    lines = []
    for case in cases:
        for position, (name, row) in enumerate(case.rows.items()):
            lines.append((case.name if position == 0 else "", name, *_cells(case, name, row)))
    return lines


def _cells(case: CaseResult, name: str, row: RowResult) -> tuple[str, ...]:
    if not row.seconds:
        return "-", "-", "-", "-", "-", "0", row.failure or "not measured"
    speed, interval = "-", "-"
    if name != EAGER and case.has(EAGER):
        found = case.ratio(EAGER, name)
        speed, interval = f"{found.value:.2f}x", f"{found.low:.2f} - {found.high:.2f}"
    notes = []
    if case.disturbed:
        notes.append(f"DISTURBED: other programs used {case.others:.1f} processors")
    if row.saved is not None:
        kept = f"keeps {row.saved / 2**20:.1f} MiB"
        notes.append(f"{kept} = {row.saved / case.features:.1f} U" if case.features else kept)
    if name in case.shares:
        notes.append(f"{case.shares[name]:.1%} more operations")
    error = "-" if row.error is None else f"{row.error:.1e}"
    return (
        *(milliseconds(row.median), speed, interval, f"{case.fraction(name):.0%}", error),
        *(str(len(row.seconds)), "; ".join(notes)),
    )


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with three digits.

    >>> milliseconds(0.0012345), milliseconds(1.2345)
    ('1.23', '1234')
    """
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def rates_text(rates: dict[str, dict[str, float]]) -> str:
    """What the machine reached, on one line."""
    return "; ".join(
        f"{dtype}: {values['flops'] / 1e9:.0f} GF/s, copy {values['bytes'] / 1e9:.1f} GB/s"
        for dtype, values in rates.items()
    )


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    >>> print(markdown(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [headings, ["---"] * len(headings), *rows]
    text = [
        "|" + "|".join(line) + "|" if index == 1 else "| " + " | ".join(line) + " |" for index, line in enumerate(lines)
    ]
    return "\n".join(text)
