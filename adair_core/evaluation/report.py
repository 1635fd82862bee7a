"""What an evaluation found: a row for each image, means with confidence intervals, as table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict
from rich.table import Table

from adair_core.atomic_file import write_atomically
from adair_core.errors import UnknownNameError
from adair_core.evaluation.statistics import Statistic, bootstrap
from adair_core.specs import Config, Protocol

Side = Literal["input", "restored", "gain"]
"""The degraded input, the restored image, or the difference restored - input, image by image."""


class MetricInfo(Config):
    """How to read a metric's numbers."""

    unit: str = ""
    higher_is_better: bool = True


class ImageResult(Config):
    """One image under one condition: metric name -> value, for the degraded input and for the restored image."""

    model_config = ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True)

    condition: str
    image: str
    input: dict[str, float]
    restored: dict[str, float]


class Report(Config):
    """The result of `evaluate`.

    In JSON, values that are not finite are the strings ``"Infinity"`` (PSNR of equal images) and ``"NaN"`` (a metric
    without meaning on an image), so that any reader accepts the file.

    Attributes:
        protocol: by which it was measured.
        metrics: name -> how to read it.
        rows: condition by condition, each in the order of the images.
    """

    protocol: Protocol
    metrics: dict[str, MetricInfo]
    rows: tuple[ImageResult, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Labels, in the protocol's order."""
        return tuple(condition.label for condition in self.protocol.conditions)

    def statistic(self, metric: str, *, condition: str | None = None, side: Side = "restored") -> Statistic:
        """Average over the images.

        Args:
            metric: name.
            condition: label; None = each image's mean over all conditions: images were sampled, not rows, and the rows
                of one image are too alike to count as several.
            side: what to average; the interval of a ``gain`` is paired, and so much narrower than the two it is the
                difference of.

        Raises:
            UnknownNameError: there is no such metric or condition.
        """
        if metric not in self.metrics:
            raise UnknownNameError("metric", metric, self.metrics)
        if condition is not None and condition not in self.conditions:
            raise UnknownNameError("condition", condition, self.conditions)
        values: dict[str, list[float]] = {}
        for row in self.rows:
            if condition in (None, row.condition):
                values.setdefault(row.image, []).append(_value(row, metric, side))
        return bootstrap([_finite_mean(of_image) for of_image in values.values()])

    def mean(self, metric: str, *, condition: str | None = None, side: Side = "restored") -> float:
        """The mean of `statistic`."""
        return self.statistic(metric, condition=condition, side=side).mean

    def to_csv(self, path: Path | None = None) -> str:
        """Tabulate the rows: condition, image, and for each metric the input's and the restored image's value.

        Args:
            path: also write the text to this file.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["condition", "image", *(f"{side}_{name}" for name in self.metrics for side in _MEASURED)])
        for row in self.rows:
            values = [repr(getattr(row, side)[name]) for name in self.metrics for side in _MEASURED]
            writer.writerow([row.condition, row.image, *values])
        return _written(text.getvalue(), path)

    def to_json(self, path: Path | None = None) -> str:
        """Serialise the report with its means; `Report.from_json` reads it back.

        Args:
            path: also write the text to this file.
        """
        return _written(_Document(report=self, means=self._means()).model_dump_json(indent=2) + "\n", path)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what `to_json` wrote."""
        return _Document.model_validate_json(text).report

    def table(self) -> Table:
        """Lay the means out for a terminal: for each condition the input, the restored images and the gain."""
        count = len({row.image for row in self.rows})
        title = f"{self.protocol.name}, {self.protocol.color}, {count} image{'' if count == 1 else 's'}"
        table = Table(title=title, caption=self._remarks() or None)
        table.add_column("condition")
        table.add_column("image")
        for name, info in self.metrics.items():
            arrow = "↑" if info.higher_is_better else "↓"
            table.add_column(f"{name} {f'({info.unit}) ' if info.unit else ''}{arrow}", justify="right")
        for condition in self.conditions:
            for side in _SIDES:
                found = [self.statistic(name, condition=condition, side=side) for name in self.metrics]
                cells = [_cell(statistic, signed=side == "gain") for statistic in found]
                table.add_row(condition if side == "input" else "", side, *cells, end_section=side == "gain")
        return table

    def _means(self) -> dict[str, dict[str, dict[Side, Statistic]]]:
        return {
            label: {
                name: {side: self.statistic(name, condition=label, side=side) for side in _SIDES}
                for name in self.metrics
            }
            for label in self.conditions
        }

    def _remarks(self) -> str:
        remarks = (
            ["± half of the 95 % confidence interval of the mean over images"]
            if len({row.image for row in self.rows}) > 1
            else []
        )
        for name in self.metrics:
            values = [row.restored[name] for row in self.rows]
            infinite = sum(map(math.isinf, values))
            undefined = sum(map(math.isnan, values))
            if infinite:
                remarks.append(f"{name}: {infinite} restored exactly, not in the mean")
            if undefined:
                remarks.append(f"{name}: undefined on {undefined} (too small), not in the mean")
        return "; ".join(remarks)


class _Document(Config):
    """The JSON file: the report, and the means for whoever reads it without us."""

    means: dict[str, dict[str, dict[Side, Statistic]]]
    report: Report


_MEASURED: tuple[Literal["input", "restored"], ...] = ("input", "restored")
_SIDES: tuple[Side, ...] = (*_MEASURED, "gain")


def _value(row: ImageResult, metric: str, side: Side) -> float:
    if side == "gain":
        return row.restored[metric] - row.input[metric]
    return getattr(row, side)[metric]  # type: ignore[no-any-return]


def _finite_mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else sum(values) / len(values)


def _cell(statistic: Statistic, *, signed: bool) -> str:
    sign = "+" if signed else ""
    decimals = 4 if abs(statistic.mean) < 1 else 2
    mean = f"{statistic.mean:{sign}.{decimals}f}"
    if not math.isfinite(statistic.low):
        return mean
    return f"{mean} ± {(statistic.high - statistic.low) / 2:.{decimals}f}"


def _written(text: str, path: Path | None) -> str:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    return text
