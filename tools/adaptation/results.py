"""Reading what runs came to: means, and differences between methods with paired intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adair_core.evaluation.scenes import scenes_of
from adair_core.evaluation.statistics import Statistic, bootstrap
from adaptation.tasks import SCENES


@dataclass(frozen=True)
class Values:
    """A metric on a test set.

    Attributes:
        of: image name -> its mean over the conditions.
        scene: what in the names tells scenes apart, where some images are of one.
    """

    of: Mapping[str, float]
    scene: str | None = None


@dataclass(frozen=True)
class Outcome:
    """One run's result, with questions that tables ask."""

    document: Mapping[str, Any]

    @property
    def labels(self) -> dict[str, Any]:
        """Of the run."""
        return dict(self.document["labels"])

    @property
    def training(self) -> dict[str, Any] | None:
        """What the training took; ``None`` for a base alone."""
        found = self.document["training"]
        return None if found is None else dict(found)

    def images(
        self, metric: str, *, measurement: str | None = None, condition: str | None = None, side: str = "restored"
    ) -> Values:
        """Each image's value, the mean over the conditions that are asked for.

        Args:
            metric: its name.
            measurement: name of the test set's folder; ``None`` = the only one.
            condition: a label; ``None`` = all.
            side: ``input`` or ``restored``.
        """
        values: dict[str, list[float]] = {}
        name, rows = self._measured(measurement)
        for row in rows:
            if condition in (None, row["condition"]):
                values.setdefault(row["image"], []).append(float(row[side][metric]))
        scene = next((pattern for images, pattern in SCENES.items() if images in name), None)
        return Values({image: sum(found) / len(found) for image, found in sorted(values.items())}, scene)

    def conditions(self, measurement: str | None = None) -> list[str]:
        """The conditions of a test set; ``None`` = the only one."""
        return list(dict.fromkeys(row["condition"] for row in self._measured(measurement)[1]))

    def _measured(self, measurement: str | None) -> tuple[str, list[dict[str, Any]]]:
        """The name of a test set's folder, and its rows."""
        name = measurement or next(iter(self.document["measurements"]))
        return name, list(self.document["measurements"][name]["rows"])


class Outcomes:
    """All results of a study, found by their labels.

    Args:
        documents: what the runs wrote.
    """

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self.all = [Outcome(document) for document in documents]

    def where(self, **labels: Any) -> list[Outcome]:
        """The results whose labels have these values."""
        return [found for found in self.all if all(found.labels.get(key) == value for key, value in labels.items())]

    def one(self, **labels: Any) -> Outcome | None:
        """The first such result, or ``None`` while it is not there."""
        return next(iter(self.where(**labels)), None)

    def compared(self, task: str, method: str) -> Outcome | None:
        """What a method came to in the comparison, with the first seed if it has seeds."""
        found = self.where(part="methods", task=task, method=method)
        return next((outcome for outcome in found if not outcome.labels.get("seed")), None)


def mean(values: Values) -> Statistic:
    """The mean over images with its 95 % bootstrap interval."""
    return bootstrap(list(values.of.values()), scenes=scenes_of(values.of, values.scene))


def difference(first: Values, second: Values) -> Statistic:
    """The mean of ``first - second``, image by image, with its paired 95 % bootstrap interval.

    Raises:
        ValueError: they are not of the same images.
    """
    if first.of.keys() != second.of.keys():
        raise ValueError(
            f"expected values of the same images, got {sorted(first.of.keys() ^ second.of.keys())[:3]} in one only"
        )
    differences = {image: value - second.of[image] for image, value in first.of.items()}
    return mean(Values(differences, first.scene))


def over_seeds(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean and standard deviation over trainings with other seeds, as text; one has no deviation."""
    sign = "+" if signed else ""
    average = sum(values) / len(values)
    if len(values) == 1:
        return f"{average:{sign}.2f}"
    deviation = math.sqrt(sum((each - average) ** 2 for each in values) / (len(values) - 1))
    return f"{average:{sign}.2f} (s.d. {deviation:.2f} of {len(values)})"
