"""How the study trains: everything equal but the method and its learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adair_core.model.files import save_base
from adair_core.model.load import load, untrained
from adair_core.specs import Choice
from adair_core.training.recipe import AdapterRecipe, Data, Settings
from adaptation.methods import Method
from adaptation.runs import Measurement, Place, Run
from adaptation.tasks import StudiedTask

OPTIMIZER = "muon"
"""Of all methods: it serves whole networks and adapters of each type better than AdamW (docs/base.md)."""


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
    rates: int = 500
    batch: int = 8
    patch: int = 64


@dataclass(frozen=True)
class Trainings:
    """Makes the runs that train.

    Attributes:
        place: where everything is.
        base: zoo name or file of the pre-trained base.
        scale: how long everything is trained.
    """

    place: Place
    base: str
    scale: Scale

    def settings(self, **changes: Any) -> Settings:
        """Those of every method; `changes` must have its learning rate, unless nothing is compared."""
        values: dict[str, Any] = {
            "steps": self.scale.steps,
            "batch_size": self.scale.batch,
            "patch_size": self.scale.patch,
            "optimizer": OPTIMIZER,
            "precision": "bfloat16",
            "workers": 0,
            "device": "cpu",
            "validate_every": 0,
        }
        return Settings(**{**values, **changes})

    def run(
        self,
        name: str,
        method: Method,
        task: StudiedTask,
        settings: Settings,
        *,
        labels: Mapping[str, Any],
        base: str | None = None,
        data: Data | None = None,
        after: tuple[Run, ...] = (),
        measured: bool = True,
    ) -> Run:
        """A training.

        Args:
            name: of the run.
            method: that trains.
            task: that it learns, and is measured on.
            settings: of the training.
            labels: what the tables need to know.
            base: that it starts from; ``None`` = the study's, or random weights, as the method says.
            data: that it learns from; ``None`` = the task's.
            after: runs that make what it uses.
            measured: whether it is measured.
        """
        base = base or (str(self.random_base(settings.seed)) if method.random else self.base)
        recipe = AdapterRecipe(
            data=data or task.data(self.place.data, self.place.out),
            settings=settings,
            base=base,
            adapter=method.adapter,
            task=Choice(name=task.task, options=dict(task.options)),
        )
        tests = tuple(Measurement(task, test) for test in task.tests) if measured else ()
        return Run(name, recipe, base, tests, dict(labels), after)

    def random_base(self, seed: int = 0) -> Path:
        """A base of the same shape with random weights, for training from scratch."""
        file = self.place.out / f"random-base{f'-{seed}' if seed else ''}.safetensors"
        if not file.exists():
            backbone = load(self.base).info.backbone
            file.parent.mkdir(parents=True, exist_ok=True)
            save_base(file, untrained(backbone.name, seed=seed, **backbone.options).backbone, backbone=backbone)
        return file
