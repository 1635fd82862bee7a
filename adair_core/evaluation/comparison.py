"""Several restorations of the same images, and the paired differences between them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import Field, model_validator
from rich.table import Table
from typing_extensions import Self

from adair_core.evaluation.cells import (
    decimals_of_difference,
    interval_cell,
    mean_cell,
    number,
    probability,
)
from adair_core.evaluation.comparable import require_comparable
from adair_core.evaluation.paired import Difference, difference, holm, least_images, paired
from adair_core.evaluation.report import (
    GROUND_TRUTH_MEAN,
    DataSetFound,
    MetricInfo,
    Report,
    csv_name,
    csv_text,
    written,
)
from adair_core.evaluation.scenes import scenes_of
from adair_core.evaluation.statistics import Statistic, finite_mean
from adair_core.specs import Config

ALL = "all"
"""How reports label the mean over all conditions."""

FEW_IMAGES = 20
"""Below this the percentile interval is visibly too narrow, see docs/evaluate.md."""


class ComparedPair(Config):
    """A candidate against the reference, by one metric under one condition.

    Attributes:
        condition: label; ``None`` = each image's mean over all conditions.
        metric: name.
        candidate: name.
        reference: name of what it is compared with.
        found: the paired difference, candidate - reference.
    """

    condition: str | None
    metric: str
    candidate: str
    reference: str
    found: Difference


class Comparison(Config):
    """The result of `compare`: a report for each candidate. The first is the reference of all differences.

    Attributes:
        reports: candidate -> its report, all of the same images by the same protocol.

    Raises:
        UsageError: there are less than two, or they cannot be compared.
    """

    reports: dict[str, Report] = Field(min_length=1)

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        require_comparable(self.reports)
        return self

    @classmethod
    def with_input(cls, report: Report) -> Comparison:
        """Compare what a report's network made with the degraded input that it got."""
        return cls(reports={"input": report.of_input(), "restored": report})

    def with_scene(self, pattern: str | None) -> Comparison:
        """The same rows, with intervals and tests that count scenes, see `Report.with_scene`."""
        return Comparison(reports={name: report.with_scene(pattern) for name, report in self.reports.items()})

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names, the reference first."""
        return tuple(self.reports)

    @property
    def reference(self) -> str:
        """The name of the candidate that the others are compared with."""
        return self.candidates[0]

    @property
    def first(self) -> Report:
        """The reference's report; protocol and images are those of all."""
        return self.reports[self.reference]

    @property
    def metrics(self) -> dict[str, MetricInfo]:
        """The metrics that all candidates were measured by."""
        return {
            name: info
            for name, info in self.first.metrics.items()
            if all(name in report.metrics for report in self.reports.values())
        }

    @property
    def spans(self) -> tuple[str | None, ...]:
        """The conditions, and ``None`` for their mean if there are several."""
        conditions = self.first.conditions
        return (*conditions, None) if len(conditions) > 1 else conditions

    def image_differences(self, metric: str, candidate: str, condition: str | None = None) -> dict[str, float]:
        """Subtract the reference's values from a candidate's.

        Args:
            metric: name.
            candidate: name.
            condition: label; None = each image's mean difference over all conditions where it is finite.

        Returns:
            Image name -> candidate - reference, in the order of the images.
        """
        differences = self._by_image(metric, candidate, condition)
        return {image: finite_mean(values) for image, values in differences.items()}

    def _by_image(self, metric: str, candidate: str, condition: str | None) -> dict[str, list[float]]:
        """Image name -> candidate - reference under each condition, or under one."""
        found: dict[str, list[float]] = {}
        for mine, theirs in zip(self.reports[candidate].rows, self.first.rows, strict=True):
            if condition in (None, mine.condition):
                value = paired(theirs.restored[metric], mine.restored[metric])
                found.setdefault(mine.image, []).append(value)
        return found

    @cached_property
    def differences(self) -> tuple[ComparedPair, ...]:
        """Every candidate against the reference: by condition, then by metric. Holm's families are these groups."""
        return tuple(pair for span in self.spans for metric in self.metrics for pair in self._family(metric, span))

    def _family(self, metric: str, condition: str | None) -> list[ComparedPair]:
        higher = self.metrics[metric].higher_is_better
        found = {
            name: difference(list(values.values()), higher_is_better=higher, scenes=scenes_of(values, self.first.scene))
            for name in self.candidates[1:]
            for values in [self._by_image(metric, name, condition)]
        }
        corrected = holm([each.p for each in found.values()])
        return [
            ComparedPair(
                condition=condition,
                metric=metric,
                candidate=name,
                reference=self.reference,
                found=each.model_copy(update={"p_holm": p}),
            )
            for (name, each), p in zip(found.items(), corrected, strict=True)
        ]

    def means(self) -> dict[str, dict[str, dict[str, Statistic]]]:
        """Condition (`ALL` for the mean over several) -> candidate -> metric -> mean."""
        return {
            span or ALL: {
                name: {metric: report.statistic(metric, condition=span) for metric in self.metrics}
                for name, report in self.reports.items()
            }
            for span in self.spans
        }

    def remarks(self) -> list[str]:
        """What a reader must know, warnings first."""
        count, family = self.first.scene_count, len(self.candidates) - 1
        what = "images" if self.first.scene is None else "scenes"
        remarks = [GROUND_TRUTH_MEAN] if self.first.protocol.ground_truth_mean else []
        if count < least_images(family):
            among = f"with {family} comparisons " if family > 1 else ""
            remarks.append(
                f"too few {what} for the Wilcoxon test: {among}it takes at least {least_images(family)} that differ, "
                f"and here are {count}, to give p <= 0.05 at all"
            )
        if 1 < count < FEW_IMAGES:
            remarks.append(f"intervals from fewer than {FEW_IMAGES} {what} are too narrow; take them as a hint")
        if family > 1:
            remarks.append(
                f"p is corrected (Holm) for {family} comparisons with {self.reference} within each metric and condition"
            )
        of_each = {name: report.remarks() for name, report in self.reports.items()}
        shared = [
            remark if all(remark in others for others in of_each.values()) else f"{name}, {remark}"
            for name, own in of_each.items()
            for remark in own
        ]
        left_out = {name for report in self.reports.values() for name in report.metrics} - set(self.metrics)
        if left_out:
            shared.append(f"left out, not measured for all candidates: {', '.join(sorted(left_out))}")
        return list(dict.fromkeys([*remarks, *shared]))

    def tables(self) -> tuple[Table, Table]:
        """Lay means and differences out for a terminal."""
        means = Table(title=self.first.title())
        means.add_column("condition")
        means.add_column("candidate")
        for name in self.metrics:
            means.add_column(self.first.metric_title(name), justify="right")
        for span, of_span in self.means().items():
            for candidate, of_candidate in of_span.items():
                cells = [mean_cell(found, self.first.decimals(name)) for name, found in of_candidate.items()]
                label = span if candidate == self.reference else ""
                means.add_row(label, candidate, *cells, end_section=candidate == self.candidates[-1])
        rows = Table(
            title=f"differences from {self.reference}", caption="\n".join(self.remarks()), caption_justify="left"
        )
        for heading in DIFFERENCE_HEADINGS:
            rows.add_column(heading, justify="left" if heading in DIFFERENCE_HEADINGS[:3] else "right")
        for pair in self.differences:
            rows.add_row(*difference_cells(self, pair))
        return means, rows

    def to_csv(self, path: Path | None = None) -> str:
        """Tabulate a row for each condition, image and candidate, with a column for each metric.

        Args:
            path: also write the text to this file.
        """
        lines = [["condition", "image", "candidate", *(csv_name(self.first, metric) for metric in self.metrics)]]
        for rows in zip(*(report.rows for report in self.reports.values()), strict=True):
            for name, row in zip(self.candidates, rows, strict=True):
                values = [repr(row.restored[metric]) for metric in self.metrics]
                lines.append([row.condition, row.image, name, *values])
        return written(csv_text(lines), path)

    def differences_csv(self, path: Path | None = None) -> str:
        """Tabulate the differences, in full precision.

        Args:
            path: also write the text to this file.
        """
        names = ["difference", "low", "high", "images", "wins", "losses", "ties", "p", "p_holm"]
        lines = [["condition", "metric", "candidate", "reference", *names]]
        for pair in self.differences:
            found, mean = pair.found, pair.found.statistic
            numbers = [mean.mean, mean.low, mean.high, mean.count, found.wins, found.losses, found.ties]
            metric = csv_name(self.first, pair.metric)
            words = [pair.condition or ALL, metric, pair.candidate, pair.reference]
            lines.append([*words, *(repr(value) for value in (*numbers, found.p, found.p_holm))])
        return written(csv_text(lines), path)

    def to_json(self, path: Path | None = None) -> str:
        """Serialise reports, means and differences; `Comparison.from_json` reads it back.

        Args:
            path: also write the text to this file.
        """
        document = _Document(
            reference=self.reference,
            means=self.means(),
            differences=self.differences,
            remarks=tuple(self.remarks()),
            data_set=DataSetFound.of(self.first),
            reports=self.reports,
        )
        return written(document.model_dump_json(indent=2) + "\n", path)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Read what `to_json` wrote."""
        return cls(reports=_Document.model_validate_json(text).reports)


class _Document(Config):
    """The JSON file: the reports, and what was computed from them for whoever reads it without us."""

    reference: str
    means: dict[str, dict[str, dict[str, Statistic]]]
    differences: tuple[ComparedPair, ...]
    remarks: tuple[str, ...]
    data_set: DataSetFound | None
    reports: dict[str, Report]


DIFFERENCE_HEADINGS = ("condition", "metric", "candidate", "difference", "95 % interval", "better", "worse", "p")


def difference_cells(comparison: Comparison, pair: ComparedPair) -> list[str]:
    """Write a difference as the cells under `DIFFERENCE_HEADINGS`."""
    found = pair.found
    decimals = decimals_of_difference(found.statistic, comparison.first.decimals(pair.metric))
    return [
        pair.condition or ALL,
        comparison.first.metric_title(pair.metric),
        pair.candidate,
        number(found.statistic.mean, decimals, signed=True),
        interval_cell(found.statistic, decimals),
        str(found.wins),
        str(found.losses),
        probability(found.p_holm),
    ]
