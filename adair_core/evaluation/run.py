"""Running a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import adair_core
from adair_core.data.seeds import generator
from adair_core.errors import AdairError, DataError, UsageError, expected
from adair_core.evaluation.checksums import MeasuredImage, measured_image, require_known_data_set
from adair_core.evaluation.comparison import Comparison
from adair_core.evaluation.images import EvaluationImages, unpack
from adair_core.evaluation.measurement import cropped_to_multiple, measured, with_mean_of
from adair_core.evaluation.report import ImageResult, MetricInfo, Report
from adair_core.evaluation.restorer import Restorer
from adair_core.evaluation.result_folder import ResultFolder
from adair_core.plugins import plugins
from adair_core.specs import Condition, Metric, MetricSpec, Protocol

Restore = Callable[[Tensor], Tensor]
"""``(1, 3, H, W)`` float, not clipped -> the same shape; it takes care of devices itself."""

Candidate = Restore | ResultFolder
"""How a candidate of a comparison restores, or where it has been restored already."""

Progress = Callable[[int, int], None]
"""Called after each image under each condition with how many are done and how many there are."""


def evaluate(
    restore: Restore,
    protocol: Protocol,
    images: EvaluationImages,
    *,
    metrics: Sequence[str] | Mapping[str, Metric] | None = None,
    restorer: Restorer | None = None,
    progress: Progress | None = None,
) -> Report:
    """Restore images as a protocol says, and compare the results with the targets.

    The degradation of image i under condition c draws from a generator that is a pure function of
    (protocol seed, label of c, i): leaving conditions or later images out changes no number.

    The degraded input is measured in the same way as the restored image (clipped and rounded, with
    `Protocol.quantize`), although the network receives it as it is.

    Args:
        restore: the restoration, such as ``lambda x: model.restore(x)``; called without gradients.
        protocol: how to measure.
        images: what to restore.
        metrics: names, or metrics by name; None = those of the protocol.
        restorer: what restores, for the report.
        progress: told about each image.

    Raises:
        UsageError: `images` do not fit the protocol (real pairs or not), two have the same name, or an unknown metric
            is named.
        DataError: there are no images, one is too small or not readable, or they are not the protocol's data set.
        AdairError: the restored image has another shape, or values that are not finite.
    """
    return _reports({"restored": restore}, protocol, images, metrics, {"restored": restorer}, progress)["restored"]


def compare(
    restorations: Mapping[str, Candidate],
    protocol: Protocol,
    images: EvaluationImages,
    *,
    metrics: Sequence[str] | Mapping[str, Metric] | None = None,
    restorers: Mapping[str, Restorer | None] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Restore the same degraded images in several ways, and measure the differences.

    Args:
        restorations: candidate -> how it restores, or where its results are; the first is the reference.
        protocol: how to measure.
        images: what to restore.
        metrics: names, or metrics by name; None = those of the protocol.
        restorers: candidate -> what restores, for the report.
        progress: told about each image that all candidates have restored.

    Raises:
        UsageError: as `evaluate`; there are less than two candidates.
        DataError: as `evaluate`.
        AdairError: as `evaluate`.
    """
    if len(restorations) < 2:
        raise UsageError(expected("comparison", expected="at least two candidates", got=len(restorations)))
    return Comparison(reports=_reports(restorations, protocol, images, metrics, restorers or {}, progress))


@dataclass(frozen=True)
class Sample:
    """An image under a condition, as the network and the metrics get it.

    Attributes:
        condition: label.
        name: of the image.
        degraded: ``(1, 3, H, W)``, float, not clipped.
        target: the same shape.
        image: checksums of what was read.
    """

    condition: str
    name: str
    degraded: Tensor
    target: Tensor
    image: MeasuredImage


def is_gray(image: Tensor) -> bool:
    """Whether all channels of ``(1, C, H, W)`` are the same."""
    return torch.equal(image, image[:, :1].expand_as(image))


class Samples:
    """The images under one condition; each is degraded when it is asked for, to the same bits every time.

    Args:
        protocol: how to degrade.
        condition: one of its conditions.
        images: what to degrade.
    """

    def __init__(self, protocol: Protocol, condition: Condition, images: EvaluationImages) -> None:
        self._protocol, self._condition, self._images = protocol, condition, images
        self._degradation = None if condition.degradation is None else plugins().degradation(condition.degradation)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        name, given, whole = unpack(self._images[index])
        _check_input(self._protocol, self._condition, name, given)
        target = cropped_to_multiple(whole, self._protocol.multiple_of, name=name)
        if self._degradation is not None:
            draws = generator("evaluation", self._protocol.seed, self._condition.label, index)
            # A gray picture is degraded as one: with noise that is the same in all channels.
            clean = target[:, :1] if is_gray(target) else target
            degraded: Tensor = self._degradation(clean.float(), draws).expand_as(target)
        else:
            assert given is not None
            degraded = cropped_to_multiple(given, self._protocol.multiple_of)
        image = measured_image(name, given, whole)
        return Sample(self._condition.label, name, degraded, target, image)


def check_images(protocol: Protocol, images: EvaluationImages) -> None:
    """Refuse images that a protocol cannot judge, as far as the first one shows.

    Raises:
        UsageError: they do not fit the protocol (real pairs or not), or its conditions are not distinct.
        DataError: there are no images, or the first is not readable.
    """
    if not len(images):
        raise DataError(f"protocol {protocol.name!r}: expected at least one image to evaluate, got none")
    labels = [condition.label for condition in protocol.conditions]
    if len(set(labels)) < len(labels):
        raise UsageError(expected(f"protocol {protocol.name!r}", expected="distinct condition labels", got=labels))
    name, given, _ = unpack(images[0])
    for condition in protocol.conditions:
        _check_input(protocol, condition, name, given)


def restored_by(restore: Candidate, sample: Sample) -> Tensor:
    """Restore a sample without gradients, or read what has been restored.

    Returns:
        ``(1, 3, H, W)`` on the CPU, not clipped.

    Raises:
        DataError: the folder of results does not have it.
        AdairError: the result has another shape, or values that are not finite.
    """
    if isinstance(restore, ResultFolder):
        restored = restore.read(sample.condition, sample.name)
        _require_shape(sample, restored)
        return restored
    # Not inference_mode: a model may cache what it computes here, and train with it later.
    with torch.no_grad():
        restored = restore(sample.degraded).detach().cpu()
    _require_shape(sample, restored)
    if not restored.isfinite().all():
        raise AdairError(
            f"restored {sample.name}: expected finite values, got nan or infinity; the weights are broken or the "
            f"precision overflows: try float32"
        )
    return restored


def _require_shape(sample: Sample, restored: Tensor) -> None:
    if restored.shape != sample.degraded.shape:
        wanted = f"the input's shape {tuple(sample.degraded.shape)}"
        raise AdairError(expected(f"restored {sample.name}", expected=wanted, got=tuple(restored.shape)))


def _reports(
    restorations: Mapping[str, Candidate],
    protocol: Protocol,
    images: EvaluationImages,
    metrics: Sequence[str] | Mapping[str, Metric] | None,
    restorers: Mapping[str, Restorer | None],
    progress: Progress | None,
) -> dict[str, Report]:
    check_images(protocol, images)
    require_known_data_set(protocol, images)
    measures = _built(metrics if metrics is not None else protocol.metrics)
    judged = _judged(measures, protocol)
    total = len(protocol.conditions) * len(images)
    rows: dict[str, list[ImageResult]] = {name: [] for name in restorations}
    seen: dict[int, MeasuredImage] = {}
    places: dict[str, int] = {}
    done = 0
    for condition in protocol.conditions:
        samples = Samples(protocol, condition, images)
        for index in range(len(samples)):
            sample = samples[index]
            seen[index] = sample.image
            if places.setdefault(sample.name, index) != index:  # means and differences go by the name
                wanted, got = "a name of its own for each", f"images {places[sample.name]} and {index} of one"
                raise UsageError(expected(f"evaluation image {sample.name!r}", expected=wanted, got=got))
            references = _forms(sample.target, judged, name=sample.name)
            values = _values(measures, sample.degraded, sample.target, references, judged)
            for name, restore in restorations.items():
                restored = restored_by(restore, sample)
                unchanged = restored is sample.degraded or torch.equal(restored, sample.degraded)
                result = values if unchanged else _values(measures, restored, sample.target, references, judged)
                row = ImageResult(condition=condition.label, image=sample.name, input=values, restored=result)
                rows[name].append(row)
            done += 1
            if progress is not None:
                progress(done, total)
    described = _described(measures)
    return {
        name: Report(
            protocol=protocol,
            metrics=described,
            rows=tuple(rows[name]),
            images=tuple(seen.values()),
            restorer=restorers.get(name),
            software=_software(),
        )
        for name in restorations
    }


def _check_input(protocol: Protocol, condition: Condition, name: str, given: Tensor | None) -> None:
    if condition.degradation is None and given is None:
        raise UsageError(
            f"protocol {protocol.name!r}, {condition.label}: needs real pairs, but the images come without inputs; "
            f"give a folder of inputs and a folder of targets"
        )
    if condition.degradation is not None and given is not None:
        raise UsageError(
            f"protocol {protocol.name!r}, {condition.label}: makes its inputs from clean images, but {name} comes "
            f"with an input of its own; judge real pairs by the task 'pairs', or by this task's option 'pairs' if it "
            f"has one"
        )


def _built(metrics: Sequence[str] | Mapping[str, Metric]) -> dict[str, Metric]:
    if isinstance(metrics, Mapping):
        return dict(metrics)
    return {name: plugins().metrics[name].build() for name in metrics}


def _metric_specs() -> dict[str, MetricSpec]:
    return {spec.name: spec for spec in plugins().metrics.values()}


def _described(measures: Mapping[str, Metric]) -> dict[str, MetricInfo]:
    known = _metric_specs()
    return {
        name: MetricInfo(unit=known[name].unit, higher_is_better=known[name].higher_is_better)
        if name in known
        else MetricInfo()
        for name in measures
    }


def _judged(measures: Iterable[str], protocol: Protocol) -> dict[str, Protocol]:
    """For each metric the protocol in the colours that it compares."""
    specs = _metric_specs()
    in_rgb = protocol.model_copy(update={"color": "rgb"})
    return {name: in_rgb if name in specs and specs[name].color == "rgb" else protocol for name in measures}


def _forms(image: Tensor, judged: Mapping[str, Protocol], *, name: str = "image") -> dict[str, Tensor]:
    """Colours of a protocol -> the image in the form in which that compares it."""
    return {colors: measured(image, each, name=name) for colors, each in {p.color: p for p in judged.values()}.items()}


def _values(
    measures: Mapping[str, Metric],
    image: Tensor,
    target: Tensor,
    references: Mapping[str, Tensor],
    judged: Mapping[str, Protocol],
) -> dict[str, float]:
    if any(protocol.ground_truth_mean for protocol in judged.values()):
        image = with_mean_of(image, target)
    forms = _forms(image, judged)
    values = {}
    for name, metric in measures.items():
        colors = judged[name].color
        # Copies: a metric of somebody's may write into what it gets, and the next one gets the same.
        values[name] = float(metric(forms[colors].clone(), references[colors].clone()))
    return values


def _software() -> dict[str, str]:
    return {"adair": adair_core.__version__, "torch": torch.__version__}
