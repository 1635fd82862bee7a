"""The base that comes with the package: the one training that makes it, and how it gets there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from adair_core.model import BaseInfo, load_base, resolve_backbone, save_base
from adair_core.specs import Choice
from adair_core.training.recipe import PretrainRecipe, Settings
from adaptation.package_index import add, newest
from adaptation.runs import Place, Run, perform, portable, weights_of
from adaptation.tasks import clean_images
from adaptation.zoo import STORED, TERMS

BACKBONE, PRESET = "restormer", "tiny"
NAME = f"{BACKBONE}-{PRESET}"
MIXTURE: tuple[Mapping[str, Any], ...] = (
    {"name": "gaussian-noise", "options": {"sigma": [0, 55], "shared": 0.15, "stored": 0.25}},
)
"""What it learns to undo: docs/base.md, "A last phase of noise alone"."""
START = f"{NAME}@5"
"""The version whose weights it goes on from."""
SETTINGS = Settings(
    steps=15_000,
    stages="0:64:8,0.5:96:4,0.8:128:2",
    optimizer="muon",
    learning_rate=2e-3,
    warmup=200,
    ema=0.999,
    precision="bfloat16",
    seed=21,
    flat_share=0.05,
    device="cpu",
    workers=0,
    validate_every=1000,
    checkpoint_every=500,
)


def training(place: Place) -> Run:
    """The run that makes the base."""
    recipe = PretrainRecipe(
        data=clean_images(place.data),
        settings=SETTINGS,
        base=START,
        backbone=resolve_backbone(BACKBONE, preset=PRESET),
        preset=PRESET,
        degradation=Choice(name="one-of", options={"degradations": list(MIXTURE)}),
    )
    return Run(NAME, recipe, None, (), {"part": "zoo"})


def make_base(place: Place) -> Path:
    """Train the base, or go on where that stopped.

    Returns:
        Its file, as the package stores it.
    """
    run = training(place)
    perform(run, place)
    stored = place.folder(run) / f"{NAME}.safetensors"
    network, info = load_base(weights_of(run, place))
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
    summary = _summary(network, info)
    add(package, name=NAME, version=version + 1, kind="base", path=path, summary=summary, terms=TERMS)
    return name


def _summary(network: nn.Module, info: BaseInfo) -> str:
    recipe = PretrainRecipe.model_validate(info.recipe)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    steps, drawn = recipe.settings.steps, recipe.degradation.options["degradations"]
    start = "" if recipe.base is None else f", from {recipe.base}"
    name = str(drawn[0]["name"]).replace("-", " ")
    what = f"{name} alone" if len(drawn) == 1 else f"a mixture of {len(drawn)} synthetic degradations"
    trained = f"pre-trained for {steps:,} steps on {what}{start}"
    return f"{BACKBONE.capitalize()} of {millions:.2f} M parameters, {trained}"
