"""What an evaluation found: a row for each image, means with confidence intervals, as table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, field_validator
from rich.table import Table

from adair_core.atomic_file import write_atomically
from adair_core.errors import UnknownNameError
from adair_core.evaluation.cells import decimals_for, mean_cell, plural
from adair_core.evaluation.checksums import MeasuredImage, data_set_checksum, data_set_remark, known_data_set
from adair_core.evaluation.paired import paired
from adair_core.evaluation.restorer import Restorer
from adair_core.evaluation.scenes import check_scene_pattern, scenes_of
from adair_core.evaluation.statistics import Statistic, bootstrap, finite_mean
from adair_core.new_folder import make_folder
from adair_core.specs import Config, Protocol

Side = Literal["input", "restored", "gain"]
"""The degraded input, the restored image, or the difference restored - input, image by image."""

GROUND_TRUTH_MEAN = (
    "with ground-truth mean: each result was scaled to its target's mean brightness before it was measured; not "
    "comparable with numbers without that"
)


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
        images: what was restored, with checksums; empty in reports of versions that had none.
        restorer: what restored, if that is known.
        software: name -> version of what computed.
        scene: what in images' names tells their scene (`adair_core.evaluation.scenes.scene_of`); None = each is one of
            its own.
    """

    protocol: Protocol
    metrics: dict[str, MetricInfo]
    rows: tuple[ImageResult, ...]
    images: tuple[MeasuredImage, ...] = ()
    restorer: Restorer | None = None
    software: dict[str, str] = Field(default_factory=dict)
    scene: str | None = None

    @field_validator("scene")
    @classmethod
    def _is_regular_expression(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"expected a regular expression, got {pattern!r} ({error})") from error
        return pattern

    def with_scene(self, pattern: str | None) -> Report:
        """The same rows, with intervals and tests that count scenes; None counts images.

        Raises:
            UsageError: it is not a regular expression, or no image's name has a match.
        """
        if pattern is not None:
            check_scene_pattern(pattern, list(dict.fromkeys(row.image for row in self.rows)))
        return self.model_copy(update={"scene": pattern})

    @property
    def conditions(self) -> tuple[str, ...]:
        """Labels, in the protocol's order."""
        return tuple(condition.label for condition in self.protocol.conditions)

    def values(self, metric: str, *, condition: str | None = None, side: Side = "restored") -> dict[str, float]:
        """A value for each image.

        Args:
            metric: name.
            condition: label; None = each image's mean over all conditions: images were sampled, not rows, and the rows
                of one image are too alike to count as several.
            side: which value.

        Returns:
            Image name -> value, in the order of the images.

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
        return {image: finite_mean(of_image) for image, of_image in values.items()}

    def statistic(self, metric: str, *, condition: str | None = None, side: Side = "restored") -> Statistic:
        """Average over the images.

        Args:
            metric: name.
            condition: label; None = all, see `values`.
            side: what to average; the interval of a ``gain`` is paired, and so much narrower than the two it is the
                difference of.

        Raises:
            UnknownNameError: there is no such metric or condition.
        """
        values = self.values(metric, condition=condition, side=side)
        return bootstrap(list(values.values()), scenes=scenes_of(values, self.scene))

    def mean(self, metric: str, *, condition: str | None = None, side: Side = "restored") -> float:
        """The mean of `statistic`."""
        return self.statistic(metric, condition=condition, side=side).mean

    def metric_title(self, metric: str) -> str:
        """The heading of a metric's column, with its unit and direction and with what makes it incomparable."""
        info = self.metrics[metric]
        notes = [info.unit] if info.unit else []
        notes += ["ground-truth mean"] if self.protocol.ground_truth_mean else []
        title = f"{metric} ({', '.join(notes)})" if notes else metric
        return f"{title} {'↑' if info.higher_is_better else '↓'}"

    def decimals(self, metric: str) -> int:
        """How many decimals of a metric reports show."""
        return decimals_for(finite_mean(list(self.values(metric).values())))

    def of_input(self) -> Report:
        """The report of doing nothing: the degraded input is the result."""
        rows = tuple(row.model_copy(update={"restored": row.input}) for row in self.rows)
        return self.model_copy(update={"rows": rows, "restorer": Restorer(title="input", strength=0)})

    def to_csv(self, path: Path | None = None) -> str:
        """Tabulate the rows: condition, image, and for each metric the input's and the restored image's value.

        Args:
            path: also write the text to this file.
        """
        columns = [f"{side}_{csv_name(self, name)}" for name in self.metrics for side in _MEASURED]
        lines = [["condition", "image", *columns]]
        for row in self.rows:
            values = [repr(getattr(row, side)[name]) for name in self.metrics for side in _MEASURED]
            lines.append([row.condition, row.image, *values])
        return written(csv_text(lines), path)

    def to_json(self, path: Path | None = None) -> str:
        """Serialise the report with its means; `Report.from_json` reads it back.

        Args:
            path: also write the text to this file.
        """
        document = _Document(report=self, data_set=DataSetFound.of(self), means=self.means())
        return written(document.model_dump_json(indent=2) + "\n", path)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what `to_json` wrote."""
        return _Document.model_validate_json(text).report

    def means(self) -> dict[str, dict[str, dict[Side, Statistic]]]:
        """Condition -> metric -> side -> mean."""
        return {
            label: {
                name: {side: self.statistic(name, condition=label, side=side) for side in _SIDES}
                for name in self.metrics
            }
            for label in self.conditions
        }

    def tables(self) -> tuple[Table]:
        """Lay the means out for a terminal: for each condition the input, the restored images and the gain."""
        table = Table(title=self.title(), caption="\n".join(self.remarks()), caption_justify="left")
        table.add_column("condition")
        table.add_column("image")
        for name in self.metrics:
            table.add_column(self.metric_title(name), justify="right")
        for condition in self.conditions:
            for side in _SIDES:
                cells = [
                    mean_cell(
                        self.statistic(name, condition=condition, side=side),
                        self.decimals(name),
                        signed=side == "gain",
                    )
                    for name in self.metrics
                ]
                table.add_row(condition if side == "input" else "", side, *cells, end_section=side == "gain")
        return (table,)

    def title(self) -> str:
        """The protocol and how much was measured, in one line."""
        mark = ", with ground-truth mean" if self.protocol.ground_truth_mean else ""
        return f"{self.protocol.name}, {self.protocol.color}{mark}, {plural(self.image_count, 'image')}"

    @property
    def image_count(self) -> int:
        """How many images there are, under however many conditions."""
        return len({row.image for row in self.rows})

    @property
    def scene_count(self) -> int:
        """How many scenes there are; as many as images, where nothing tells scenes apart."""
        images = {row.image for row in self.rows}
        return len(set(scenes_of(images, self.scene) or images))

    def remarks(self) -> list[str]:
        """What a reader of the means must know."""
        remarks = [GROUND_TRUTH_MEAN] if self.protocol.ground_truth_mean else []
        if self.image_count > 1:
            remarks.append("± half of the 95 % confidence interval of the mean over images")
        if self.scene is not None:
            scenes, images = plural(self.scene_count, "scene"), plural(self.image_count, "image")
            remarks.append(f"{images} of {scenes} (--scene {self.scene}): intervals and tests count scenes")
        if self.restorer is not None and self.restorer.tile.isdigit():
            remarks.append(f"restored in tiles of {self.restorer.tile} pixels")
        if self.images:
            remarks.append(data_set_remark(self.protocol, self.images))
        for name in self.metrics:
            values = [row.restored[name] for row in self.rows]
            infinite = sum(map(math.isinf, values))
            undefined = sum(map(math.isnan, values))
            if infinite:
                remarks.append(f"{name}: {infinite} restored exactly, not in the mean")
            if undefined:
                remarks.append(
                    f"{name}: undefined on {undefined} (NaN, as SSIM of an image that is too small), not in the mean"
                )
        return remarks


class DataSetFound(Config):
    """The images as a whole: how many, their checksum, and which of the protocol's data sets they are."""

    images: int
    checksum: str
    name: str | None

    @classmethod
    def of(cls, report: Report) -> DataSetFound | None:
        """Describe a report's images; ``None`` for a report without checksums."""
        if not report.images:
            return None
        known = known_data_set(report.protocol, report.images)
        return cls(
            images=len(report.images), checksum=data_set_checksum(report.images), name=known.name if known else None
        )


class _Document(Config):
    """The JSON file: the report, and the means for whoever reads it without us."""

    means: dict[str, dict[str, dict[Side, Statistic]]]
    data_set: DataSetFound | None = None
    report: Report


_MEASURED: tuple[Literal["input", "restored"], ...] = ("input", "restored")
_SIDES: tuple[Side, ...] = (*_MEASURED, "gain")


def _value(row: ImageResult, metric: str, side: Side) -> float:
    if side == "gain":
        return paired(row.input[metric], row.restored[metric])
    return getattr(row, side)[metric]  # type: ignore[no-any-return]


def csv_name(report: Report, metric: str) -> str:
    """Name a metric's column in CSV, so that what is not comparable has another name."""
    return f"{metric}_gt-mean" if report.protocol.ground_truth_mean else metric


def csv_text(lines: Sequence[Sequence[str]]) -> str:
    """Write lines as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def written(text: str, path: Path | None) -> str:
    """Write a text to a file, if there is one to write to, and return it."""
    if path is not None:
        make_folder(path.parent)
        write_atomically(path, text.encode())
    return text
