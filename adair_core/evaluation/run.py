"""Running a protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from adair_core.data.seeds import generator
from adair_core.errors import AdairError, DataError, UsageError, expected
from adair_core.evaluation.images import EvaluationImages, unpack
from adair_core.evaluation.measurement import cropped_to_multiple, measured
from adair_core.evaluation.report import ImageResult, MetricInfo, Report
from adair_core.plugins import plugins
from adair_core.specs import Condition, Metric, MetricSpec, Protocol

Restore = Callable[[Tensor], Tensor]
"""``(1, 3, H, W)`` float, not clipped -> the same shape; it takes care of devices itself."""

Progress = Callable[[int, int], None]
"""Called after each image under each condition with how many are done and how many there are."""


def evaluate(
    restore: Restore,
    protocol: Protocol,
    images: EvaluationImages,
    *,
    metrics: Sequence[str] | Mapping[str, Metric] | None = None,
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
        progress: told about each image.

    Raises:
        UsageError: `images` do not fit the protocol (real pairs or not), or an unknown metric is named.
        DataError: there are no images, or one is too small or not readable.
        AdairError: the restored image has another shape, or values that are not finite.
    """
    check_images(protocol, images)
    measures = _built(metrics if metrics is not None else protocol.metrics)
    total = len(protocol.conditions) * len(images)
    rows = []
    for condition in protocol.conditions:
        degrade = _degrader(protocol, condition)
        for index in range(len(images)):
            name, given, target = unpack(images[index])
            target = cropped_to_multiple(target, protocol.multiple_of)
            _check_input(protocol, condition, name, given)
            degraded = degrade(target, index) if given is None else cropped_to_multiple(given, protocol.multiple_of)
            restored = _restored(restore, degraded, name)
            reference = measured(target, protocol)
            rows.append(
                ImageResult(
                    condition=condition.label,
                    image=name,
                    input=_values(measures, measured(degraded, protocol), reference),
                    restored=_values(measures, measured(restored, protocol), reference),
                )
            )
            if progress is not None:
                progress(len(rows), total)
    return Report(protocol=protocol, metrics=_described(measures), rows=tuple(rows))


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


def _degrader(protocol: Protocol, condition: Condition) -> Callable[[Tensor, int], Tensor]:
    if condition.degradation is None:
        return lambda target, _: target
    degradation = plugins().degradation(condition.degradation)

    def degrade(target: Tensor, index: int) -> Tensor:
        draws = generator("evaluation", protocol.seed, condition.label, index)
        degraded: Tensor = degradation(target.float(), draws)
        return degraded

    return degrade


def _restored(restore: Restore, degraded: Tensor, name: str) -> Tensor:
    # Not inference_mode: a model may cache what it computes here, and train with it later.
    with torch.no_grad():
        restored = restore(degraded).detach().cpu()
    if restored.shape != degraded.shape:
        wanted = f"the input's shape {tuple(degraded.shape)}"
        raise AdairError(expected(f"restored {name}", expected=wanted, got=tuple(restored.shape)))
    if not restored.isfinite().all():
        raise AdairError(
            f"restored {name}: expected finite values, got nan or infinity; the weights are broken or the precision "
            f"overflows: try float32"
        )
    return restored


def _built(metrics: Sequence[str] | Mapping[str, Metric]) -> dict[str, Metric]:
    if isinstance(metrics, Mapping):
        return dict(metrics)
    return {name: plugins().metrics[name].build() for name in metrics}


def _described(measures: Mapping[str, Metric]) -> dict[str, MetricInfo]:
    known: dict[str, MetricSpec] = {spec.name: spec for spec in plugins().metrics.values()}
    return {
        name: MetricInfo(unit=known[name].unit, higher_is_better=known[name].higher_is_better)
        if name in known
        else MetricInfo()
        for name in measures
    }


def _values(measures: Mapping[str, Metric], image: Tensor, target: Tensor) -> dict[str, float]:
    return {name: float(metric(image, target)) for name, metric in measures.items()}
