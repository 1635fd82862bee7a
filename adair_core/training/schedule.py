"""What a step does, as a pure function of its number: learning rate, patches, and which samples they are.

Nothing here has state, so a resumed run, a run with more loader workers and a run on more processes all see the same
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch.utils.data import Sampler

from adair_core.errors import UsageError, expected
from adair_core.training.recipe import Settings, Stage


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then half a cosine.

    With peak p, final rate f, warm-up w and S steps::

        step < w:   p (step + 1) / w
        otherwise:  f + (p - f) (1 + cos(pi (step - w) / (S - 1 - w))) / 2

    Args:
        step: 0-based.
        settings: gives p, f, w and S.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5, one period.
    """
    warmup = min(settings.warmup, settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(settings.steps - 1 - warmup, 1)
    span = settings.learning_rate - settings.final_learning_rate
    return settings.final_learning_rate + span * (1 + math.cos(math.pi * progress)) / 2


def spans(settings: Settings) -> list[tuple[range, Stage]]:
    """List the stages of a run in order, each with its steps."""
    starts = sorted({0, *(round(stage.start * settings.steps) for stage in settings.stages)})
    starts = [start for start in starts if start < settings.steps]
    return [
        (range(start, end), settings.stage_at(start))
        for start, end in zip(starts, [*starts[1:], settings.steps], strict=True)
    ]


def samples_before(step: int, settings: Settings) -> int:
    """Count the samples of all steps before this one, over all processes."""
    return sum(len(steps[: max(step - steps.start, 0)]) * stage.batch_size for steps, stage in spans(settings))


def split(batch_size: int, part: int, parts: int) -> range:
    """Return the positions in a batch that one of its parts holds; parts differ in size by at most one."""
    return range(batch_size * part // parts, batch_size * (part + 1) // parts)


class BatchSchedule(Sampler[list[tuple[int, int]]]):
    """The batches of one process, in order: ``(global sample index, patch size)`` for each sample.

    Each step's batch is split into ``processes * accumulate`` parts of consecutive samples; a process yields its own
    ``accumulate`` parts. Sample n is therefore the same patch whatever the number of processes.

    Args:
        settings: of the run.
        start: first step, 0-based.
        process: index of this process.
        processes: how many there are.

    Raises:
        UsageError: a batch has fewer samples than parts.
    """

    def __init__(self, settings: Settings, *, start: int = 0, process: int = 0, processes: int = 1) -> None:
        self.settings, self.start, self.process = settings, start, process
        self.parts = processes * settings.accumulate
        smallest = min(stage.batch_size for _, stage in spans(settings))
        if smallest < self.parts:
            wanted = f"at least {self.parts}, one patch for each of {processes} processes x {settings.accumulate} parts"
            raise UsageError(expected("batch size", expected=wanted, got=smallest))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = samples_before(self.start, self.settings)
        for step in range(self.start, self.settings.steps):
            stage = self.settings.stage_at(step)
            for part in range(self.settings.accumulate):
                mine = split(stage.batch_size, self.process * self.settings.accumulate + part, self.parts)
                yield [(first + position, stage.patch_size) for position in mine]
            first += stage.batch_size

    def __len__(self) -> int:
        return (self.settings.steps - self.start) * self.settings.accumulate
