"""How the study chooses learning rates: by short runs, on training images that are held out; no test set enters.

An adapter wants a higher rate than a whole network, and few pairs a lower one than many images. So each kind of method
has a rate for tasks whose images are clean, chosen on two of them, and one for each task that learns from pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adair_core.data.folders import copies, find_images
from adair_core.errors import UsageError, expected
from adair_core.training.recipe import Data
from adaptation.links import linked
from adaptation.methods import BUDGETS, Method
from adaptation.runs import Run
from adaptation.study_trainings import Trainings
from adaptation.tasks import TASKS, StudiedTask

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
FIRST_RATES = (1e-3, 3e-3, 1e-2)
"""The others are tried while the best is at the end of those that were."""
TIE, PAIR_TIE = 0.02, 0.1  # dB of validation; of rates that are nearer to the best, the lowest is chosen
RATE_TASKS = ("hybrid", "gaussian-deblur")
"""On which the rates for clean images are chosen, by the mean over both; not noise alone, of which a base that knows it
leaves nothing to learn."""
SCRATCH_TASK = "denoise"
"""On which the rate of random weights is chosen."""
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
        self._best: dict[tuple[str, tuple[str, ...]], float] = {}

    def runs(self, methods: Sequence[Method], tasks: Sequence[StudiedTask]) -> Iterator[Run]:
        """The runs that choose the rates of methods for tasks, as far as is known which.

        More are known when these are done. When all are done that it returns, rates are chosen.
        """
        pairs = {(self._stand_in(method).name, deciding(method, task)) for task in tasks for method in methods}
        for method, names in sorted(pairs):
            yield from self._runs(self.methods[method], names)

    def best(self, method: Method, task: StudiedTask) -> float:
        """The learning rate that validated best, or nearly so.

        Raises:
            UsageError: what decides it is not done.
        """
        method = self._stand_in(method)
        key = (method.name, deciding(method, task))
        if key in self._best:
            return self._best[key]
        runs = self._runs(method, key[1])
        missing = [run.name for run in runs if self.trainings.place.outcome(run) is None]
        if missing:
            what = f"the result of {missing[0]}"
            raise UsageError(expected(what, expected="done before what it decides", got="none"))
        self._best[key] = best(self._validated(runs), key[1])
        return self._best[key]

    def held_out(self, task: StudiedTask) -> Data:
        """A task's training pairs, of which the last validate; no other pair of their clean images teaches."""
        trainings = self.trainings
        pairs = task.data(trainings.place.data, trainings.place.out)
        parts: dict[str, dict[str, Path]] = {"train": {}, "validation": {}}
        files: dict[str, list[Path]] = {}
        for side, folder in (("input", pairs.pairs_input), ("target", pairs.pairs_target)):
            assert folder is not None
            files[side] = sorted(find_images(folder), key=lambda file: (len(file.stem), file.stem))
        count = len(files["target"])
        first = count - round(HELD_OUT * count)
        clean = files["target"]
        seen = copies(clean[:first], of=clean[first:])
        chosen = {
            "train": [place for place in range(first) if clean[place] not in seen],
            "validation": list(range(first, count)),
        }
        for part, places in chosen.items():
            for side, own in files.items():
                links = trainings.place.out / "pairs" / task.name / part / side
                parts[part][side] = linked(links, {own[place].name: own[place] for place in places})
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

    def _runs(self, method: Method, tasks: Sequence[str]) -> list[Run]:
        rates = list(FIRST_RATES)
        while True:
            runs = [self._run(method, TASKS[task], rate) for rate in rates for task in tasks]
            validated = self._validated(runs)
            if len(validated) < len(rates):
                return runs
            missing = unsettled(validated)
            if not missing:
                return runs
            rates = sorted([*rates, *missing])

    def _run(self, method: Method, task: StudiedTask, rate: float) -> Run:
        trainings = self.trainings
        # A random network has learned too little in a short run to tell rates apart.
        steps = trainings.scale.steps if method.random else trainings.scale.rates
        run = trainings.run(
            f"rates/{task.name}/{method.name}-{rate:g}",
            method,
            task,
            trainings.settings(steps=steps, learning_rate=rate),
            labels={"part": "rates", "task": task.name, "method": method.name, "rate": rate},
            data=None if task.pairs is None else self.held_out(task),
            measured=False,
        )
        return replace(run, may_diverge=True)

    def _validated(self, runs: Sequence[Run]) -> dict[float, float]:
        found: dict[str, dict[float, float]] = {}
        for run in runs:
            outcome = self.trainings.place.outcome(run)
            own = found.setdefault(run.labels["task"], {})
            if outcome is not None:
                own[run.labels["rate"]] = validated(outcome)
        return over_tasks(found)


def validated(outcome: Mapping[str, Any]) -> float:
    """PSNR in dB of what was held out; minus infinity, if the training diverged."""
    return -math.inf if outcome.get("diverged") else float(outcome["training"]["validation"])


def deciding(method: Method, task: StudiedTask) -> tuple[str, ...]:
    """The tasks on which a method's rate for a task is chosen."""
    if method.random:
        return (SCRATCH_TASK,)
    return RATE_TASKS if task.pairs is None else (task.name,)


def over_tasks(validated: Mapping[str, Mapping[float, float]]) -> dict[float, float]:
    """Rate -> mean PSNR over the tasks, of the rates that were tried on all of them."""
    rates = set.intersection(*(set(own) for own in validated.values()))
    return {rate: sum(own[rate] for own in validated.values()) / len(validated) for rate in sorted(rates)}


def unsettled(validated: Mapping[float, float]) -> list[float]:
    """The rates beside the highest PSNR that were not tried; none, if the choice is settled."""
    place = RATES.index(max(validated, key=lambda rate: validated[rate]))
    return [rate for rate in RATES[max(place - 1, 0) : place + 2] if rate not in validated]


def best(validated: Mapping[float, float], tasks: Sequence[str]) -> float:
    """The lowest rate whose mean PSNR over the tasks is as good as the highest.

    Few pairs that are held out tell less apart: of them more counts as equal.
    """
    tie = PAIR_TIE if any(TASKS[task].pairs for task in tasks) else TIE
    return min(rate for rate, psnr in validated.items() if psnr >= max(validated.values()) - tie)
