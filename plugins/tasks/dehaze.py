"""Removing haze."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adair_core import Choice, Protocol, TaskSpec
from adair_core.degradation import in_bounds
from adair_plugins.degradations.counts import Count
from adair_plugins.degradations.haze import HazeConfig
from adair_plugins.tasks.protocol_files import load_protocol


class DehazeConfig(HazeConfig):
    """Which haze to train on; the protocol stays the same."""

    pairs: bool = Field(
        False, description="train and judge on folders of real pairs, as on RESIDE SOTS, not on synthetic haze"
    )
    parts: Annotated[Count, in_bounds(0, 1000)] = Field(
        (8, 24), description="parts of the scene, bounded as the image shows, that lie at a depth of their own"
    )


def degradation(config: DehazeConfig) -> Choice | None:
    """Fill the air, differently in each image."""
    return None if config.pairs else Choice(name="haze", options=config.model_dump(mode="json", exclude={"pairs"}))


def protocol(config: DehazeConfig) -> Protocol:
    """Judge on three fixed densities of haze, or on real pairs."""
    return load_protocol("dehaze-pairs" if config.pairs else "dehaze")


SPEC = TaskSpec(
    name="dehaze",
    summary="remove haze",
    config=DehazeConfig,
    degradation=degradation,
    protocol=protocol,
    defaults={"patch_size": 128, "batch_size": 4},
)
