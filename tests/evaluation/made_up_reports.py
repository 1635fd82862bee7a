"""Reports whose numbers a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adair_core import Choice, Condition, Protocol
from adair_core.evaluation import Comparison, ImageResult, MetricInfo, Report
from adair_core.evaluation.checksums import MeasuredImage

METRICS = {"psnr": MetricInfo(unit="dB"), "lpips": MetricInfo(higher_is_better=False)}


def protocol(*labels: str, **options: object) -> Protocol:
    conditions = [Condition(label=label, degradation=Choice(name="noise")) for label in labels or ("only",)]
    return Protocol.model_validate({"name": "made-up", "conditions": conditions, "metrics": ("psnr",), **options})


def report(
    values: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    metric: str = "psnr",
    inputs: float = 20.0,
    names: Sequence[str] = (),
    **options: object,
) -> Report:
    """A report of one metric: the values of the images under each condition, or under the only one."""
    by_condition = values if isinstance(values, Mapping) else {"only": values}
    count = len(next(iter(by_condition.values())))
    names = names or [f"{index}.png" for index in range(count)]
    rows = [
        ImageResult(condition=condition, image=name, input={metric: inputs}, restored={metric: value})
        for condition, of_images in by_condition.items()
        for name, value in zip(names, of_images, strict=True)
    ]
    return Report(
        protocol=protocol(*by_condition, **options),
        metrics={metric: METRICS[metric]},
        rows=tuple(rows),
        images=tuple(MeasuredImage(name=name, target=f"{index:032x}") for index, name in enumerate(names)),
    )


def comparison(*values: Mapping[str, Sequence[float]] | Sequence[float], metric: str = "psnr") -> Comparison:
    """Candidates ``a``, ``b``, ``c``, ... ; ``a`` is the reference."""
    return Comparison(reports={"abcdefghij"[index]: report(each, metric=metric) for index, each in enumerate(values)})
