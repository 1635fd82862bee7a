"""Learning from folders of real pairs, whatever happened between them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adair_core import Config, Protocol, TaskSpec
from adair_plugins.tasks.protocol_files import load_protocol, with_ground_truth_mean


class PairsConfig(Config):
    """How results are judged."""

    color: Literal["rgb", "y"] = Field("rgb", description="colour space of the metrics: rgb, or y for BT.601 luma")
    crop: int = Field(0, ge=0, description="pixels that the metrics leave out at each border")
    ground_truth_mean: bool = Field(
        False, description="scale results to the target's mean brightness first (low light); not comparable"
    )


def protocol(config: PairsConfig) -> Protocol:
    """Judge against the pairs' targets."""
    chosen = load_protocol("pairs").model_copy(update={"color": config.color, "crop": config.crop})
    return with_ground_truth_mean(chosen, config.ground_truth_mean)


SPEC = TaskSpec(
    name="pairs",
    summary="learn from two folders: inputs and targets of equal names",
    config=PairsConfig,
    degradation=lambda _: None,
    protocol=protocol,
    defaults={"patch_size": 64},
)
