"""What the study trains and measures.

Every comparison has equal data, equal steps and equal seeds. Learning rates are not equal: an adapter wants a higher
one than a whole network, and few pairs a lower one than many images. So each method's is chosen first, for each kind of
training images, by validation on some of them that are held out.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adair_core.data.folders import find_images
from adair_core.errors import UsageError, expected
from adair_core.model.files import save_base
from adair_core.model.load import load, untrained
from adair_core.specs import Choice
from adair_core.training.recipe import AdapterRecipe, Data, PretrainRecipe, Settings
from adaptation.methods import BUDGETS, Method, methods, sized
from adaptation.runs import Measurement, Place, Run, weights_of
from adaptation.tasks import CLEAN_SETS, MAIN, TASKS, StudiedTask, TestSet

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FIRST_RATES = (1e-3, 3e-3, 1e-2)
"""The others are tried while the best is at the end of those that were."""
TIE = 0.02  # dB of validation; of rates that are nearer to the best, the lowest is chosen
RATE_TASK = "hybrid"
"""Rates of all tasks with clean training images are chosen on this one; those with pairs have rates of their own."""
HELD_OUT = 0.2  # of the pairs; the last ones, so that most scenes are on one side
SEEDS = (0, 1, 2)
SEEDED_TASK = "denoise"
IMAGES = (10, 50, 400)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1)
SIZES = (0.01, 0.02, 0.04, 0.08, 0.16)  # of the base's parameters, for the gap to full fine-tuning
COST_STEPS, COST_ROUNDS = 120, 3
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
    "one degradation": [{"name": "gaussian-noise", "options": {"sigma": [0, 55]}}],
    "three degradations": [
        {"name": "gaussian-noise", "options": {"sigma": [0, 55]}},
        {"name": "downsample"},
        {"name": "jpeg"},
    ],
    "the whole mixture": [],
}
"""The pre-training ablation; empty is the default of ``adair pretrain``."""


@dataclass(frozen=True)
class Scale:
    """How long everything is trained.

    Attributes:
        steps: of an adapter, of full fine-tuning and of training from scratch.
        pretraining: steps of each base of the ablation.
        rates: steps of the runs that choose learning rates.
        batch: patches a step.
        patch: their side, in pixels.
    """

    steps: int = 1500
    pretraining: int = 3000
    rates: int = 200
    batch: int = 8
    patch: int = 64


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

    def rates(self) -> list[Run]:
        """Runs that choose learning rates, as far as is known which; nothing of a test set enters.

        More are known when these are done. When all are done that it returns, rates are chosen.
        """
        wanted = {(method.name, RATE_TASK): None for method in self.methods.values()}
        for task in self.tasks:
            wanted.update({(method.name, self._rate_task(method, task)): None for method in self._methods(task)})
        return [run for name, task in wanted for run in self._rates_of(self.methods[name], TASKS[task])]

    def _methods(self, task: StudiedTask) -> list[Method]:
        """Those that a task is compared with."""
        names = self.methods if task.name in MAIN else (f"lora-{BUDGETS[-1]:.0%}", "full")
        return [self.methods[name] for name in names]

    @staticmethod
    def _rate_task(method: Method, task: StudiedTask) -> str:
        """The task on which a method's rate for a task is chosen."""
        return RATE_TASK if task.pairs is None or method.random else task.name

    def _rates_of(self, method: Method, task: StudiedTask) -> list[Run]:
        rates = list(FIRST_RATES)
        while True:
            runs = [self._rate(method, task, rate) for rate in rates]
            validated = self._validated(runs)
            if len(validated) < len(runs):
                return runs
            place = RATES.index(_best(validated))
            beside = [rate for rate in RATES[max(place - 1, 0) : place + 2] if rate not in rates]
            if not beside:
                return runs
            rates = sorted([*rates, *beside])

    def _rate(self, method: Method, task: StudiedTask, rate: float) -> Run:
        # A random network has learned too little in a short run to tell rates apart.
        steps = self.scale.steps if method.random else self.scale.rates
        run = self._training(
            f"rates/{task.name}/{method.name}-{rate:g}",
            method,
            task,
            self._settings(method, steps=steps, learning_rate=rate),
            measured=False,
            labels={"part": "rates", "task": task.name, "method": method.name, "rate": rate},
        )
        if task.pairs is None:
            return run
        assert isinstance(run.recipe, AdapterRecipe)
        return replace(run, recipe=run.recipe.model_copy(update={"data": self.held_out(task)}))

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
                if seed == SEEDS[0] or task.name == SEEDED_TASK:
                    yield from self._compared(task, seed)

    def _compared(self, task: StudiedTask, seed: int) -> Iterator[Run]:
        labels = {"part": "methods", "task": task.name}
        if seed == SEEDS[0]:
            yield self._frozen(f"methods/{task.name}/frozen", self.base, task, {**labels, "method": "frozen base"})
        for method in self._methods(task):
            yield self._training(
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
                yield self._training(
                    f"costs/{method.name}-round{round_}",
                    method,
                    TASKS["denoise"],
                    self._settings(method, steps=COST_STEPS),
                    measured=False,
                    labels={"part": "costs", "method": method.name, "round": round_},
                )

    def sizes(self) -> Iterator[Run]:
        """LoRA of more sizes than the comparison has, with the rate of the size next to each."""
        for task in self.tasks:
            for size in SIZES:
                if task.name not in MAIN or size in BUDGETS:
                    continue
                nearest = min(BUDGETS, key=lambda budget: abs(math.log(budget / size)))
                rank = sized(self.base, "lora", "rank", size)
                yield self._training(
                    f"sizes/{task.name}/lora-{size:.0%}",
                    Method(f"lora-{size:.0%}", Choice(name="lora", options={"rank": rank})),
                    task,
                    self._chosen(self.methods[f"lora-{nearest:.0%}"], task),
                    labels={"part": "sizes", "task": task.name, "method": f"lora-{size:.0%}", "size": size},
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
        method = self.methods[f"lora-{BUDGETS[-1]:.0%}"]
        yield self._training(
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
        name = f"methods/{task}/lora-{BUDGETS[-1]:.0%}"
        return next((run for run in self.comparison() if run.name == name), None)

    def pretraining(self) -> Iterator[Run]:
        """What an adapter owes to the degradations that its base was pre-trained on."""
        tasks = [task for task in self.tasks if task.name in MAIN]
        snow = StudiedTask("snow", "snow, in no mixture", "snow", tests=(TestSet("Kodak24"),))
        bases: dict[str, tuple[str, tuple[Run, ...]]] = {"none": (str(self.random_base()), ())}
        for title, mixture in MIXTURES.items():
            options = {"degradations": mixture} if mixture else {}
            run = Run(
                name=f"pretraining/{title.replace(' ', '-')}/base",
                recipe=PretrainRecipe(
                    data=TASKS["denoise"].data(self.place.data),
                    settings=self._settings(self.methods["full"], steps=self.scale.pretraining, learning_rate=1e-3),
                    backbone=load(self.base).info.backbone,
                    degradation=Choice(name="one-of", options=options),
                ),
                base=None,
                measurements=(),
                labels={"part": "bases", "pretraining": title},
            )
            yield run
            bases[title] = (str(weights_of(run, self.place)), (run,))
        method = self.methods[f"lora-{BUDGETS[-1]:.0%}"]
        for title, (base, after) in bases.items():
            folder = f"pretraining/{title.replace(' ', '-')}"
            for task in (*tasks, snow):
                labels = {"part": "pretraining", "pretraining": title, "task": task.name}
                yield self._frozen(
                    f"{folder}/{task.name}-frozen", base, task, {**labels, "method": "frozen base"}, after
                )
                run = self._training(
                    f"{folder}/{task.name}-{method.name}",
                    method,
                    task,
                    self._chosen(method, task),
                    labels={**labels, "method": method.name},
                )
                assert isinstance(run.recipe, AdapterRecipe)
                yield replace(run, recipe=run.recipe.model_copy(update={"base": base}), base=base, after=after)

    def amounts(self) -> Iterator[Run]:
        """Adapters and full fine-tuning with few images."""
        task = TASKS["denoise"]
        for count in IMAGES:
            data = Data(images=(self.some_images(count),))
            for method in (self.methods[f"lora-{BUDGETS[-1]:.0%}"], self.methods["full"]):
                run = self._training(
                    f"amounts/{count}-{method.name}",
                    method,
                    task,
                    self._chosen(method, task),
                    labels={"part": "amounts", "images": count, "task": task.name, "method": method.name},
                )
                assert isinstance(run.recipe, AdapterRecipe)
                yield replace(run, recipe=run.recipe.model_copy(update={"data": data}))

    def union(self) -> Iterator[Run]:
        """One network for several tasks, with the steps of all of them, against an adapter for each."""
        singles = [
            TASKS["denoise"],
            StudiedTask("synthetic-rain", "synthetic rain", "derain", tests=(TestSet("Kodak24"),)),
            StudiedTask("synthetic-low-light", "synthetic low light", "low-light", tests=(TestSet("Kodak24"),)),
            TASKS["hybrid"],
        ]
        from adair_core.plugins import plugins

        parts = []
        for task in singles:
            spec = plugins().task(task.task)
            choice = spec.degradation(spec.config(**task.options))
            assert choice is not None
            parts.append(choice.model_dump(mode="json"))
        everything = StudiedTask("all-in-one", "all in one", "one-of", {"degradations": parts})
        run = self._training(
            "union/all-in-one",
            self.methods["full"],
            everything,
            self._chosen(self.methods["full"], everything, steps=len(singles) * self.scale.steps),
            labels={"part": "union", "method": "all in one"},
        )
        yield replace(run, measurements=tuple(Measurement(task, test) for task in singles for test in task.tests))
        method = self.methods[f"lora-{BUDGETS[-1]:.0%}"]
        for task in singles:
            yield self._training(
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

    def random_base(self, seed: int = 0) -> Path:
        """A base of the same shape with random weights, for training from scratch."""
        backbone = load(self.base).info.backbone
        file = self.place.out / f"random-base{f'-{seed}' if seed else ''}.safetensors"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            save_base(file, untrained(backbone.name, seed=seed, **backbone.options).backbone, backbone=backbone)
        return file

    def held_out(self, task: StudiedTask) -> Data:
        """A task's training pairs, of which the last validate."""
        pairs = task.data(self.place.data)
        parts: dict[str, dict[str, Path]] = {"train": {}, "validation": {}}
        for side, folder in (("input", pairs.pairs_input), ("target", pairs.pairs_target)):
            assert folder is not None
            files = sorted(find_images(folder), key=lambda file: (len(file.stem), file.stem))
            first = len(files) - round(HELD_OUT * len(files))
            for part, own in (("train", files[:first]), ("validation", files[first:])):
                parts[part][side] = _linked(
                    self.place.out / "pairs" / task.name / part / side, {file.name: file for file in own}
                )
        train, validation = parts["train"], parts["validation"]
        return Data(
            pairs_input=train["input"],
            pairs_target=train["target"],
            validation_input=validation["input"],
            validation=validation["target"],
        )

    def some_images(self, count: int) -> Path:
        """A folder of links to a fixed choice of the clean training images."""
        files = [file for name in CLEAN_SETS for file in find_images(self.place.data / name)]
        if len(files) < count:
            raise UsageError(expected("clean training images", expected=f"at least {count}", got=len(files)))
        chosen = random.Random(0).sample(files, count)
        named = {f"{file.parent.name}-{file.name}": file for file in chosen}
        return _linked(self.place.out / "images" / str(count), named)

    def _settings(self, method: Method, **changes: Any) -> Settings:
        values: dict[str, Any] = {
            "steps": self.scale.steps,
            "batch_size": self.scale.batch,
            "patch_size": self.scale.patch,
            "optimizer": method.optimizer,
            "precision": "bfloat16",
            "workers": 0,
            "device": "cpu",
            "validate_every": 0,
        }
        return Settings(**{**values, **changes})

    def _chosen(self, method: Method, task: StudiedTask, **changes: Any) -> Settings:
        """With the learning rate that was chosen."""
        return self._settings(method, learning_rate=self.best_rate(method, task), **changes)

    def best_rate(self, method: Method, task: StudiedTask) -> float:
        """The learning rate that validated best, or nearly so."""
        runs = self._rates_of(method, TASKS[self._rate_task(method, task)])
        validated = self._validated(runs)
        missing = [run.name for run in runs if run.labels["rate"] not in validated]
        if missing:
            raise UsageError(
                expected(f"the result of {missing[0]}", expected="done before what it decides", got="none")
            )
        return _best(validated)

    def _validated(self, runs: Sequence[Run]) -> dict[float, float]:
        """Rate -> PSNR, of those that are done."""
        outcomes = {run.labels["rate"]: self.place.outcome(run) for run in runs}
        return {rate: float(found["training"]["validation"]) for rate, found in outcomes.items() if found is not None}

    def _frozen(
        self, name: str, base: str, task: StudiedTask, labels: Mapping[str, Any], after: tuple[Run, ...] = ()
    ) -> Run:
        measured = tuple(Measurement(task, test) for test in task.tests)
        return Run(name=name, recipe=None, base=base, measurements=measured, labels=dict(labels), after=after)

    def _training(
        self,
        name: str,
        method: Method,
        task: StudiedTask,
        settings: Settings,
        *,
        labels: Mapping[str, Any],
        measured: bool = True,
    ) -> Run:
        base = str(self.random_base(settings.seed)) if method.random else self.base
        recipe = AdapterRecipe(
            data=task.data(self.place.data),
            settings=settings,
            base=base,
            adapter=method.adapter,
            task=Choice(name=task.task, options=dict(task.options)),
        )
        tests = tuple(Measurement(task, test) for test in task.tests) if measured else ()
        return Run(name=name, recipe=recipe, base=base, measurements=tests, labels=dict(labels))


def _best(validated: Mapping[float, float]) -> float:
    """The lowest rate whose PSNR is as good as the highest."""
    return min(rate for rate, psnr in validated.items() if psnr >= max(validated.values()) - TIE)


def _linked(folder: Path, files: Mapping[str, Path]) -> Path:
    """A folder of links with these names; of all of them, if it is there."""
    if not folder.exists():
        made = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for name, file in files.items():
            (made / name).symlink_to(file)
        made.rename(folder)
    return folder
