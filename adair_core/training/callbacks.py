"""What may watch a run: the `Callback` base and the records that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from adair_core.training.recipe import Recipe


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step.

    Attributes:
        step: steps done, 1-based.
        loss: mean over the batch, over all processes.
        learning_rate: that the step was taken with.
        gradient_norm: before clipping.
        seconds: that the step took, waiting included.
        waited: seconds of them spent waiting for data.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    waited: float


@dataclass(frozen=True)
class ValidationRecord:
    """One validation of the averaged weights.

    Attributes:
        step: steps done.
        metric: name of the metric that decides which weights are best.
        value: its mean over all conditions.
        conditions: condition label -> its mean.
        inputs: condition label -> the mean of the degraded inputs.
        best: whether it was better than all earlier ones.
    """

    step: int
    metric: str
    value: float
    conditions: Mapping[str, float]
    inputs: Mapping[str, float]
    best: bool


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        folder: the run folder.
        step: steps done, earlier sittings included.
        weights: the base file or the adapter folder that came out.
        validation: the validation of the weights that were written.
        best: the best validation.
        seconds: spent training, earlier sittings included, validation and export excluded.
        waiting: share of `seconds` spent waiting for data, in [0, 1].
    """

    folder: Path
    step: int
    weights: Path
    validation: ValidationRecord | None
    best: ValidationRecord | None
    seconds: float
    waiting: float


@dataclass(frozen=True)
class Run:
    """What a callback sees of the run that it watches.

    Attributes:
        recipe: fully resolved.
        folder: the run folder; a callback may write files of its own into it.
        network: the network in training.
        start: steps done when this sitting began; above 0 after a resume.
    """

    recipe: Recipe
    folder: Path
    network: nn.Module
    start: int


class Callback:
    """Watches a run. Override what is needed; every method does nothing by default.

    Callbacks run in the main process only, in order, between steps. They must not change the network or draw from
    torch's global generator: the result would depend on them. What they raise ends the run.
    """

    def on_start(self, run: Run) -> None:
        """Before the first step of this sitting."""

    def on_step(self, run: Run, record: StepRecord) -> None:
        """After every optimiser step."""

    def on_validation(self, run: Run, record: ValidationRecord) -> None:
        """After every validation."""

    def on_checkpoint(self, run: Run, step: int) -> None:
        """Before a checkpoint is written: what must not be lost up to `step` is written now."""

    def on_end(self, run: Run, result: RunResult) -> None:
        """After the last step, when the results are written; not when the run fails or is interrupted."""

    def on_close(self) -> None:
        """Whatever happened: release what was opened."""
