"""Judging the weights while they train, on the protocol of the task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adair_core.evaluation import EvaluationImages, evaluate
from adair_core.evaluation.images import unpack
from adair_core.evaluation.run import check_images
from adair_core.model.restoring import restore_image
from adair_core.plugins import plugins
from adair_core.specs import Protocol


@dataclass(frozen=True)
class Scores:
    """What a validation found.

    Attributes:
        metric: the protocol's first metric.
        value: its mean over all conditions.
        conditions: condition label -> its mean.
        inputs: condition label -> the mean of the degraded inputs.
        example: input, restored and clean image ``(1, 3, H, W)`` of the first image under the first condition.
        notes: the metric of the example's input and restored image, as text with the unit.
    """

    metric: str
    value: float
    conditions: dict[str, float]
    inputs: dict[str, float]
    example: tuple[Tensor, Tensor, Tensor]
    notes: tuple[str, str]


@dataclass(frozen=True)
class Validation:
    """A protocol with its images. Only the protocol's first metric is computed: it is what decides which is best.

    Attributes:
        protocol: how to measure.
        images: on what.

    Raises:
        AdairError: the images do not fit the protocol, which is better known before training than after.
    """

    protocol: Protocol
    images: EvaluationImages

    def __post_init__(self) -> None:
        check_images(self.protocol, self.images)

    @property
    def metric(self) -> str:
        """Name of the metric that decides."""
        return self.protocol.metrics[0]

    def better(self, value: float, than: float) -> bool:
        """Compare two values of the metric."""
        if math.isnan(than):
            return not math.isnan(value)
        return value > than if plugins().metrics[self.metric].higher_is_better else value < than

    def run(
        self,
        network: Callable[[Tensor], Tensor],
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Scores:
        """Restore all images, whole or in the tiles that memory asks for, and measure them.

        Args:
            network: ``(1, 3, H, W)`` -> same shape.
            device: where the network is; None = the CPU.
            dtype: that the network takes.

        Raises:
            AdairError: what `adair_core.evaluation.evaluate` raises.
        """
        first: list[tuple[Tensor, Tensor]] = []
        where = device or torch.device("cpu")

        def observed(degraded: Tensor) -> Tensor:
            restored = restore_image(
                network, degraded, strength=1, tile="auto", overlap=None, device=where, dtype=dtype
            )
            if not first:
                first.append((degraded.detach().cpu(), restored.detach().cpu()))
            return restored

        report = evaluate(observed, self.protocol, self.images, metrics=(self.metric,))
        unit = report.metrics[self.metric].unit
        row = report.rows[0]
        _, _, clean = unpack(self.images[0])
        degraded, restored = first[0]
        return Scores(
            metric=self.metric,
            value=report.mean(self.metric),
            conditions={label: report.mean(self.metric, condition=label) for label in report.conditions},
            inputs={label: report.mean(self.metric, condition=label, side="input") for label in report.conditions},
            example=(degraded, restored, clean[..., : degraded.shape[-2], : degraded.shape[-1]]),
            notes=(
                f"{row.input[self.metric]:.2f} {unit}".strip(),
                f"{row.restored[self.metric]:.2f} {unit}".strip(),
            ),
        )
