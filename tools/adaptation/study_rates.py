"""How the study chooses learning rates: by short runs, on training images that are held out; no test set enters.

An adapter wants a higher rate than a whole network, and few pairs a lower one than many images. So each kind of method
has a rate for tasks whose images are clean, chosen on one of them, and one for each task that learns from pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adair_core.data.folders import find_images
from adair_core.errors import UsageError, expected
from adair_core.training.recipe import Data
from adaptation.methods import BUDGETS, Method
from adaptation.runs import Run
from adaptation.study_trainings import Trainings, linked
from adaptation.tasks import TASKS, StudiedTask

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FIRST_RATES = (1e-3, 3e-3, 1e-2)
"""The others are tried while the best is at the end of those that were."""
TIE = 0.02  # dB of validation; of rates that are nearer to the best, the lowest is chosen
RATE_TASK = "denoise"
"""On which the rates for clean images are chosen."""
HELD_OUT = 0.2  # of the pairs; the last ones, so that most scenes are on one side


class Rates:
    """The choice of learning rates.

    Args:
        trainings: makes the runs.
        methods: all of the study, by name.
    """

    def __init__(self, trainings: Trainings, methods: Mapping[str, Method]) -> None:
        self.trainings = trainings
        self.methods = methods
        self._best: dict[tuple[str, str], float] = {}

    def runs(self, methods: Sequence[Method], tasks: Sequence[StudiedTask]) -> Iterator[Run]:
        """The runs that choose the rates of methods for tasks, as far as is known which.

        More are known when these are done. When all are done that it returns, rates are chosen.
        """
        pairs = {(self._stand_in(method).name, deciding(method, task)) for task in tasks for method in methods}
        for method, task in sorted(pairs):
            yield from self._runs(self.methods[method], TASKS[task])

    def best(self, method: Method, task: StudiedTask) -> float:
        """The learning rate that validated best, or nearly so.

        Raises:
            UsageError: what decides it is not done.
        """
        method = self._stand_in(method)
        key = (method.name, deciding(method, task))
        if key in self._best:
            return self._best[key]
        runs = self._runs(method, TASKS[key[1]])
        validated = self._validated(runs)
        missing = [run.name for run in runs if run.labels["rate"] not in validated]
        if missing:
            what = f"the result of {missing[0]}"
            raise UsageError(expected(what, expected="done before what it decides", got="none"))
        self._best[key] = best(validated)
        return self._best[key]

    def held_out(self, task: StudiedTask) -> Data:
        """A task's training pairs, of which the last validate."""
        trainings = self.trainings
        pairs = task.data(trainings.place.data)
        parts: dict[str, dict[str, Path]] = {"train": {}, "validation": {}}
        for side, folder in (("input", pairs.pairs_input), ("target", pairs.pairs_target)):
            assert folder is not None
            files = sorted(find_images(folder), key=lambda file: (len(file.stem), file.stem))
            first = len(files) - round(HELD_OUT * len(files))
            for part, own in (("train", files[:first]), ("validation", files[first:])):
                links = trainings.place.out / "pairs" / task.name / part / side
                parts[part][side] = linked(links, {file.name: file for file in own})
        train, validation = parts["train"], parts["validation"]
        return Data(
            pairs_input=train["input"],
            pairs_target=train["target"],
            validation_input=validation["input"],
            validation=validation["target"],
        )

    def _stand_in(self, method: Method) -> Method:
        """The method whose rate it has: of adapters, their type's largest of the comparison."""
        return self.methods.get(f"{method.adapter.name}-{BUDGETS[-1]:.0%}", method)

    def _runs(self, method: Method, task: StudiedTask) -> list[Run]:
        rates = list(FIRST_RATES)
        while True:
            runs = [self._run(method, task, rate) for rate in rates]
            validated = self._validated(runs)
            if len(validated) < len(runs):
                return runs
            missing = unsettled(validated)
            if not missing:
                return runs
            rates = sorted([*rates, *missing])

    def _run(self, method: Method, task: StudiedTask, rate: float) -> Run:
        trainings = self.trainings
        # A random network has learned too little in a short run to tell rates apart.
        steps = trainings.scale.steps if method.random else trainings.scale.rates
        return trainings.run(
            f"rates/{task.name}/{method.name}-{rate:g}",
            method,
            task,
            trainings.settings(steps=steps, learning_rate=rate),
            labels={"part": "rates", "task": task.name, "method": method.name, "rate": rate},
            data=None if task.pairs is None else self.held_out(task),
            measured=False,
        )

    def _validated(self, runs: Sequence[Run]) -> dict[float, float]:
        """Rate -> PSNR, of those that are done."""
        outcomes = {run.labels["rate"]: self.trainings.place.outcome(run) for run in runs}
        return {rate: float(found["training"]["validation"]) for rate, found in outcomes.items() if found is not None}


def deciding(method: Method, task: StudiedTask) -> str:
    """The task on which a method's rate for a task is chosen."""
    return RATE_TASK if task.pairs is None or method.random else task.name


def unsettled(validated: Mapping[float, float]) -> list[float]:
    """The rates beside the best one that were not tried; none, if the choice is settled."""
    place = RATES.index(best(validated))
    return [rate for rate in RATES[max(place - 1, 0) : place + 2] if rate not in validated]


def best(validated: Mapping[float, float]) -> float:
    """The lowest rate whose PSNR is as good as the highest."""
    return min(rate for rate, psnr in validated.items() if psnr >= max(validated.values()) - TIE)
