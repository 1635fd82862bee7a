"""The base that comes with the package: the trainings that make it, one after the other, and how it gets there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from adair_core.model import load_base, resolve_backbone, save_base
from adair_core.specs import Choice
from adair_core.training.recipe import PretrainRecipe, Settings
from adaptation.package_index import add, newest
from adaptation.runs import Place, Run, perform, portable, weights_of
from adaptation.tasks import clean_images
from adaptation.zoo import STORED, TERMS

BACKBONE, PRESET = "restormer", "tiny"
NAME = f"{BACKBONE}-{PRESET}"


@dataclass(frozen=True)
class Phase:
    """A training that goes on from the one before; the first starts from random weights.

    Attributes:
        name: of its run.
        drawn: what it learns to undo, in words.
        degradations: what is drawn from, as ``one-of`` takes it.
        settings: that differ from `SETTINGS`.
    """

    name: str
    drawn: str
    degradations: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole_settings(self) -> Settings:
        """All of its settings."""
        return Settings(**{**SETTINGS, **self.settings})


SETTINGS: Mapping[str, Any] = {
    "optimizer": "muon",
    "learning_rate": 2e-3,
    "warmup": 200,
    "ema": 0.999,
    "precision": "bfloat16",
    "flat_share": 0.05,
    "device": "cpu",
    "workers": 0,
    "validate_every": 1000,
    "checkpoint_every": 500,
}

_WEIGHTS: Mapping[str, float] = {
    "gaussian-noise": 4,
    "camera-noise": 0.7,
    "poisson-noise": 0.3,
    "gaussian-blur": 1,
    "motion-blur": 0.7,
    "downsample": 1.5,
    "jpeg": 1.3,
    "rain": 0.8,
    "haze": 0.5,
    "low-light": 0.5,
    "chain": 0.8,
}
_NOISE = ({"name": "gaussian-noise", "options": {"sigma": [0, 55], "shared": 0.15, "stored": 0.25}},)
PHASES = (
    Phase(
        "mixture",
        f"a mixture of {len(_WEIGHTS)} synthetic degradations",
        tuple({"name": name, "weight": weight} for name, weight in _WEIGHTS.items()),
        {"steps": 16_500, "stages": "0:64:8,0.55:96:4,0.85:128:2", "seed": 10, "flat_share": 0},
    ),
    # Why noise alone: docs/base.md, "A last phase of noise alone".
    Phase(
        "noise", "Gaussian noise alone", _NOISE, {"steps": 15_000, "stages": "0:64:8,0.5:96:4,0.8:128:2", "seed": 21}
    ),
    Phase(
        "more-noise",
        "Gaussian noise alone",
        _NOISE,
        {"steps": 36_000, "stages": "0:64:8,0.35:96:4,0.7:128:2", "seed": 22, "validate_every": 2000},
    ),
)


def trainings(place: Place) -> list[Run]:
    """The runs that make the base, one for each phase."""
    runs: list[Run] = []
    for phase in PHASES:
        recipe = PretrainRecipe(
            data=clean_images(place.data),
            settings=phase.whole_settings,
            base=str(weights_of(runs[-1], place)) if runs else None,
            backbone=resolve_backbone(BACKBONE, preset=PRESET),
            preset=PRESET,
            degradation=Choice(name="one-of", options={"degradations": list(phase.degradations)}),
        )
        runs.append(Run(f"{NAME}/{phase.name}", recipe, None, (), {"part": "zoo"}, after=tuple(runs[-1:])))
    return runs


def make_base(place: Place) -> Path:
    """Train the base, or go on where that stopped.

    Returns:
        Its file, as the package stores it.
    """
    runs = trainings(place)
    for run in runs:
        perform(run, place)
    stored = place.folder(NAME) / f"{NAME}.safetensors"
    network, info = load_base(weights_of(runs[-1], place))
    save_base(stored, network, backbone=info.backbone, recipe=portable(info.recipe, place), dtype=STORED)
    return stored


def publish_base(source: Path, package: Path) -> str | None:
    """Put a base into the package, as the next version.

    Args:
        source: from `make_base`.
        package: folder of the zoo with its ``index.json``.

    Returns:
        Its name with the version; ``None`` if the newest version has these weights already.
    """
    network, info = load_base(source)
    version, known = newest(package, NAME)
    if version and load_base(known)[1].fingerprint == info.fingerprint:
        return None
    name = f"{NAME}@{version + 1}"
    path = f"{name}.safetensors"
    (package / path).write_bytes(source.read_bytes())
    add(package, name=NAME, version=version + 1, kind="base", path=path, summary=_summary(network), terms=TERMS)
    return name


def _summary(network: nn.Module) -> str:
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    steps: dict[str, int] = {}
    for phase in PHASES:
        steps[phase.drawn] = steps.get(phase.drawn, 0) + phase.whole_settings.steps
    trained = ", then ".join(f"{count:,} steps on {drawn}" for drawn, count in steps.items())
    return f"{BACKBONE.capitalize()} of {millions:.2f} M parameters, pre-trained for {trained}"
