"""What the study trains and measures.

Every comparison has equal data, equal steps and equal seeds. Learning rates are not equal, but each method's own best:
see `study_rates`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adair_core.data.folders import find_images
from adair_core.errors import UsageError, expected
from adair_core.model.load import load
from adair_core.plugins import plugins
from adair_core.specs import Choice
from adair_core.training.recipe import Data, PretrainRecipe, Settings
from adaptation.links import linked
from adaptation.methods import BUDGETS, Method, methods, of_size
from adaptation.runs import Measurement, Place, Run, weights_of
from adaptation.study_rates import SCRATCH_TASK, Rates
from adaptation.study_trainings import Scale, Trainings
from adaptation.tasks import CLEAN_SETS, MAIN, TASKS, StudiedTask, TestSet, clean_images

BASE = "restormer-tiny@6"
"""The study's base."""
SEEDS = (0, 1, 2)
IMAGES = (10, 50, 400)
FEW = "snow"
"""The task that few images teach: not one that the base knows of many images."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1)
SIZES = (0.01, 0.02, 0.04, 0.08, 0.16)  # of the base's parameters, for the gap to full fine-tuning
SIZED = ("derain", "hybrid")
"""The tasks on which all sizes are tried."""
ADAPTER = f"lora-{BUDGETS[-1]:.0%}"
"""The method that stands for adapters where not all of them are tried."""
SEEDED = (ADAPTER, "full")
"""The methods whose further seeds are trained."""
COST_STEPS, COST_ROUNDS = 120, 3
PRETRAINING_RATE = 2e-3
"""Of the bases of the ablation: that of the package's base."""
BLENDED = ("denoise", "gaussian-deblur")
BLENDS = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.75, 0.75), (1.0, 0.5), (0.5, 1.0), (1.0, 1.0))
BLURRED_NOISY = StudiedTask(
    "blurred-noisy",
    "blur of 1.2 pixels, then noise of sigma 15",
    "chain",
    {
        "degradations": [
            {"name": "gaussian-blur", "options": {"sigma": [1.2, 1.2], "ratio": [1, 1]}},
            {"name": "gaussian-noise", "options": {"sigma": [15, 15]}},
        ]
    },
    tests=(TestSet("Kodak24"),),
)

MIXTURES: dict[str, list[dict[str, Any]]] = {
    "one degradation": [{"name": "gaussian-noise"}],
    "three degradations": [
        {"name": "gaussian-noise"},
        {"name": "downsample"},
        {"name": "jpeg"},
    ],
    "the whole mixture": [],
}
"""The pre-training ablation; empty is the default of ``adair pretrain``."""


class Plan:
    """All runs of the study, in an order in which each finds what it needs.

    Args:
        place: where everything is.
        base: zoo name or file of the pre-trained base.
        scale: how long everything is trained.
        tasks: names of `TASKS` that are studied.
    """

    def __init__(self, place: Place, base: str, scale: Scale, tasks: Sequence[str]) -> None:
        self.place, self.base, self.scale = place, base, scale
        self.tasks = [TASKS[name] for name in tasks]
        self.methods = {method.name: method for method in methods(base)}
        self.trainings = Trainings(place, base, scale)
        self.chosen = Rates(self.trainings, self.methods)

    def _methods(self, task: StudiedTask) -> list[Method]:
        """Those that a task is compared with."""
        names = self.methods if task.name in MAIN else (ADAPTER, "full")
        return [self.methods[name] for name in names]

    def rates(self) -> list[Run]:
        """Runs that choose learning rates, as far as is known which: see `Rates.runs`."""
        whole = [task for task in self.tasks if task.name in MAIN]
        groups = [(list(self.methods.values()), [TASKS[SCRATCH_TASK], *whole])]
        groups += [(self._methods(task), [task]) for task in self.tasks if task not in whole]
        runs = [run for methods, tasks in groups for run in self.chosen.runs(methods, tasks)]
        return list({run.name: run for run in runs}.values())

    def runs(self) -> Iterator[Run]:
        """Everything else; the learning rates must be chosen."""
        yield from self.comparison()
        yield from self.sizes()
        yield from self.pretraining()
        yield from self.amounts()
        yield from self.union()
        yield from self.strengths()
        yield from self.blends()

    def comparison(self) -> Iterator[Run]:
        """Methods with equal data and equal steps, on every task; the further seeds last."""
        for seed in SEEDS:
            for task in self.tasks:
                if seed == SEEDS[0] or task.name in MAIN:
                    yield from self._compared(task, seed)

    def _compared(self, task: StudiedTask, seed: int) -> Iterator[Run]:
        labels = {"part": "methods", "task": task.name}
        if seed == SEEDS[0]:
            yield self._frozen(f"methods/{task.name}/frozen", self.base, task, {**labels, "method": "frozen base"})
        for method in self._methods(task):
            if seed != SEEDS[0] and method.name not in SEEDED:
                continue
            yield self.trainings.run(
                f"methods/{task.name}/{method.name}{f'-seed{seed}' if seed else ''}",
                method,
                task,
                self._chosen(method, task, seed=seed),
                labels={**labels, "method": method.name, "seed": seed},
            )

    def costs(self) -> Iterator[Run]:
        """What a step of each method takes, the methods in turn; for a machine that does nothing else.

        The runs of the comparison do not tell: they are made whenever there is time, and on several machines.
        """
        for round_ in range(COST_ROUNDS):
            for method in self.methods.values():
                yield self.trainings.run(
                    f"costs/{method.name}-round{round_}",
                    method,
                    TASKS["denoise"],
                    self.trainings.settings(steps=COST_STEPS),
                    measured=False,
                    labels={"part": "costs", "method": method.name, "round": round_},
                )

    def sizes(self) -> Iterator[Run]:
        """LoRA of more sizes than the comparison has."""
        for task in self.tasks:
            for size in SIZES:
                if task.name not in SIZED or size in BUDGETS:
                    continue
                method = of_size(self.base, "lora", size)
                yield self.trainings.run(
                    f"sizes/{task.name}/{method.name}",
                    method,
                    task,
                    self._chosen(method, task),
                    labels={"part": "sizes", "task": task.name, "method": method.name, "size": size},
                )

    def blends(self) -> Iterator[Run]:
        """Two adapters at once on images that are blurred and noisy, and one that learned just that."""
        runs = self.blended()
        labels = {"part": "blends", "task": BLURRED_NOISY.name}
        if not runs:
            return
        yield self._frozen("blends/frozen", self.base, BLURRED_NOISY, {**labels, "method": "frozen base"})
        for blend in BLENDS:
            adapters = [word for run in runs for word in ("--adapter", str(weights_of(run, self.place)))]
            strengths = ",".join(f"{value:g}" for value in blend)
            yield Run(
                name=f"blends/{strengths}",
                recipe=None,
                base=self.base,
                measurements=(Measurement(BLURRED_NOISY, BLURRED_NOISY.tests[0]),),
                labels={**labels, "method": "blend", "blend": list(blend)},
                after=runs,
                restore=(*adapters, "--blend", strengths),
            )
        method = self.methods[ADAPTER]
        yield self.trainings.run(
            "blends/learned",
            method,
            BLURRED_NOISY,
            self._chosen(method, BLURRED_NOISY),
            labels={**labels, "method": "an adapter for both"},
        )

    def blended(self) -> tuple[Run, ...]:
        """Those that train the adapters of the blends; none, unless all of them are studied."""
        runs = tuple(run for run in map(self._adapter_for, BLENDED) if run is not None)
        return runs if len(runs) == len(BLENDED) else ()

    def _adapter_for(self, task: str) -> Run | None:
        """The comparison's adapter (LoRA, the larger budget) of a task; ``None`` if the task is not studied."""
        name = f"methods/{task}/{ADAPTER}"
        return next((run for run in self.comparison() if run.name == name), None)

    def pretraining(self) -> Iterator[Run]:
        """What an adapter owes to the degradations that its base was pre-trained on."""
        tasks = [task for task in self.tasks if task.name in (*MAIN, "snow")]
        bases: dict[str, tuple[str, tuple[Run, ...]]] = {"none": (str(self.trainings.random_base()), ())}
        for title, mixture in MIXTURES.items():
            options = {"degradations": mixture} if mixture else {}
            run = Run(
                name=f"pretraining/{title.replace(' ', '-')}/base",
                recipe=PretrainRecipe(
                    data=clean_images(self.place.data),
                    settings=self.trainings.settings(steps=self.scale.pretraining, learning_rate=PRETRAINING_RATE),
                    backbone=load(self.base).info.backbone,
                    degradation=Choice(name="one-of", options=options),
                ),
                base=None,
                measurements=(),
                labels={"part": "bases", "pretraining": title},
            )
            yield run
            bases[title] = (str(weights_of(run, self.place)), (run,))
        for title, (base, after) in bases.items():
            folder = f"pretraining/{title.replace(' ', '-')}"
            for task in tasks:
                labels = {"part": "pretraining", "pretraining": title, "task": task.name}
                yield self._frozen(
                    f"{folder}/{task.name}-frozen", base, task, {**labels, "method": "frozen base"}, after
                )
                # All weights, from random ones, are what the comparison calls from scratch.
                for method in (ADAPTER,) if title == "none" else (ADAPTER, "full"):
                    yield self.trainings.run(
                        f"{folder}/{task.name}-{method}",
                        self.methods[method],
                        task,
                        self._chosen(self.methods[method], task),
                        labels={**labels, "method": method},
                        base=base,
                        after=after,
                    )

    def amounts(self) -> Iterator[Run]:
        """Adapters and full fine-tuning with few images."""
        task = TASKS[FEW]
        for count in IMAGES:
            data = Data(images=(self.some_images(count),))
            for method in (self.methods[ADAPTER], self.methods["full"]):
                yield self.trainings.run(
                    f"amounts/{count}-{method.name}",
                    method,
                    task,
                    self._chosen(method, task),
                    labels={"part": "amounts", "images": count, "task": task.name, "method": method.name},
                    data=data,
                )

    def union(self) -> Iterator[Run]:
        """One network for several tasks, with the steps of all of them, against an adapter for each."""
        singles = [
            TASKS["denoise"],
            StudiedTask("synthetic-rain", "synthetic rain", "derain", tests=(TestSet("Kodak24"),)),
            StudiedTask("synthetic-low-light", "synthetic low light", "low-light", tests=(TestSet("Kodak24"),)),
            TASKS["hybrid"],
        ]
        parts = []
        for task in singles:
            spec = plugins().task(task.task)
            choice = spec.degradation(spec.config(**task.options))
            assert choice is not None
            parts.append(choice.model_dump(mode="json"))
        everything = StudiedTask("all-in-one", "all in one", "one-of", {"degradations": parts})
        run = self.trainings.run(
            "union/all-in-one",
            self.methods["full"],
            everything,
            self._chosen(self.methods["full"], everything, steps=len(singles) * self.scale.steps),
            labels={"part": "union", "method": "all in one"},
        )
        yield replace(run, measurements=tuple(Measurement(task, test) for task in singles for test in task.tests))
        for task in (task for task in singles if task.name not in TASKS):  # the comparison has the others
            for method in (self.methods[ADAPTER], self.methods["full"]):
                yield self.trainings.run(
                    f"union/{task.name}-{method.name}",
                    method,
                    task,
                    self._chosen(method, task),
                    labels={"part": "union", "task": task.name, "method": method.name},
                )

    def strengths(self) -> Iterator[Run]:
        """How the result changes with an adapter's strength; no training."""
        source = self._adapter_for("denoise")
        if source is None:
            return
        adapter = weights_of(source, self.place)
        for strength in STRENGTHS:
            yield Run(
                name=f"strengths/denoise-{strength:g}",
                recipe=None,
                base=self.base,
                measurements=(Measurement(TASKS["denoise"], TASKS["denoise"].tests[0]),),
                labels={"part": "strengths", "strength": strength},
                after=(source,),
                restore=("--adapter", str(adapter), "--blend", f"{strength:g}"),
            )

    def some_images(self, count: int) -> Path:
        """A folder of links to a fixed choice of the clean training images."""
        files = [file for name in CLEAN_SETS for file in find_images(self.place.data / name)]
        if len(files) < count:
            raise UsageError(expected("clean training images", expected=f"at least {count}", got=len(files)))
        chosen = random.Random(0).sample(files, count)
        named = {f"{file.parent.name}-{file.name}": file for file in chosen}
        return linked(self.place.out / "images" / str(count), named)

    def _chosen(self, method: Method, task: StudiedTask, **changes: Any) -> Settings:
        """With the learning rate that was chosen."""
        return self.trainings.settings(learning_rate=self.chosen.best(method, task), **changes)

    def _frozen(
        self, name: str, base: str, task: StudiedTask, labels: Mapping[str, Any], after: tuple[Run, ...] = ()
    ) -> Run:
        measured = tuple(Measurement(task, test) for test in task.tests)
        return Run(name=name, recipe=None, base=base, measurements=measured, labels=dict(labels), after=after)
