"""Learning from folders of real pairs, whatever happened between them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adair_core import Config, Protocol, TaskSpec
from adair_plugins.tasks.protocol_files import load_protocol


class PairsConfig(Config):
    """How results are judged."""

    color: Literal["rgb", "y"] = Field("rgb", description="colour space of the metrics: rgb, or y for BT.601 luma")
    crop: int = Field(0, ge=0, description="pixels that the metrics leave out at each border")


def protocol(config: PairsConfig) -> Protocol:
    """Judge against the pairs' targets."""
    return load_protocol("pairs").model_copy(update={"color": config.color, "crop": config.crop})


SPEC = TaskSpec(
    name="pairs",
    summary="learn from two folders: inputs and targets of equal names",
    config=PairsConfig,
    degradation=lambda _: None,
    protocol=protocol,
    defaults={"patch_size": 64},
)
