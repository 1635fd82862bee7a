"""Removing haze."""

from __future__ import annotations

from pydantic import Field

from adair_core import Choice, Protocol, TaskSpec
from adair_plugins.degradations.haze import HazeConfig, Parts
from adair_plugins.tasks.protocol_files import load_protocol


class DehazeConfig(HazeConfig):
    """Which haze to train on; the protocol stays the same."""

    pairs: bool = Field(
        False, description="train and judge on folders of real pairs, as on RESIDE SOTS, not on synthetic haze"
    )
    parts: Parts = (8, 24)


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
