"""Removing rain streaks."""

from __future__ import annotations

from pydantic import Field

from adair_core import Choice, Protocol, TaskSpec
from adair_plugins.degradations.rain import RainConfig
from adair_plugins.tasks.protocol_files import load_protocol


class DerainConfig(RainConfig):
    """Which rain to train on; the protocol stays the same."""

    pairs: bool = Field(
        False, description="train and judge on folders of real pairs, as on Rain100L, not on synthetic rain"
    )


def degradation(config: DerainConfig) -> Choice | None:
    """Let it rain, differently on each image."""
    return None if config.pairs else Choice(name="rain", options=config.model_dump(mode="json", exclude={"pairs"}))


def protocol(config: DerainConfig) -> Protocol:
    """Judge on three fixed kinds of rain, or on real pairs."""
    return load_protocol("derain-pairs" if config.pairs else "derain")


SPEC = TaskSpec(
    name="derain",
    summary="remove rain streaks",
    config=DerainConfig,
    degradation=degradation,
    protocol=protocol,
    defaults={"patch_size": 96},
)
