"""Bases by zoo name or file, and untrained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from adair_core.model.backbone import BaseInfo, build_resolved, declared_sites, resolve_backbone
from adair_core.model.files import load_base
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.weights_file import fingerprint
from adair_core.model.zoo import find_weights
from adair_core.plugins import plugins


def load(name_or_path: str | Path) -> RestorationModel:
    """Load a base.

    Args:
        name_or_path: zoo name, such as ``"restormer-tiny"`` (the newest) or ``"restormer-tiny@1"``, or a safetensors
            file.

    Returns:
        The base, frozen, in float32 on the CPU, with no adapters.

    Raises:
        UnknownNameError: the zoo has no such name, and there is no such file.
        UsageError: the name is that of an adapter.
        WeightsError: the file cannot be used.
    """
    found = find_weights(name_or_path, kind="base")
    backbone, info = load_base(found.path, name=found.name)
    return RestorationModel(backbone, declared_sites(plugins().backbones[info.backbone.name], backbone), info=info)


def untrained(backbone: str, *, preset: str | None = None, seed: int = 0, **options: Any) -> RestorationModel:
    """Build a base with random weights: for tests, and to look at an architecture.

    Args:
        backbone: registered name.
        preset: named shape; ``None`` is the backbone's default.
        seed: of the weights.
        options: fields of the backbone's configuration that differ from the preset.

    Raises:
        UnknownNameError: no plugin offers the backbone.
        UsageError: there is no such preset, or an option is not valid.
    """
    choice = resolve_backbone(backbone, preset=preset, **options)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = build_resolved(choice)
    info = BaseInfo(name=f"untrained {backbone}", backbone=choice, fingerprint=fingerprint(module.state_dict()))
    return RestorationModel(module, declared_sites(plugins().backbones[backbone], module), info=info)
