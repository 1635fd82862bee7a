"""Brightening pictures that were taken in too little light."""

from __future__ import annotations

from pydantic import Field

from adair_core import Choice, Protocol, TaskSpec
from adair_plugins.degradations.low_light import LowLightConfig as DarkeningConfig
from adair_plugins.tasks.protocol_files import load_protocol, with_ground_truth_mean


class LowLightConfig(DarkeningConfig):
    """Which darkness to train on; the protocol stays the same."""

    pairs: bool = Field(False, description="train and judge on folders of real pairs, as on LOL, not on synthetic ones")
    ground_truth_mean: bool = Field(
        False, description="scale results to the target's mean brightness, as KinD and LLFlow do; not comparable"
    )


def degradation(config: LowLightConfig) -> Choice | None:
    """Underexpose each image differently."""
    return (
        None
        if config.pairs
        else Choice(name="low-light", options=config.model_dump(mode="json", exclude={"pairs", "ground_truth_mean"}))
    )


def protocol(config: LowLightConfig) -> Protocol:
    """Judge on three fixed exposures, or on real pairs."""
    return with_ground_truth_mean(
        load_protocol("low-light-pairs" if config.pairs else "low-light"), config.ground_truth_mean
    )


SPEC = TaskSpec(
    name="low-light",
    summary="brighten and denoise underexposed pictures",
    config=LowLightConfig,
    degradation=degradation,
    protocol=protocol,
    defaults={"patch_size": 96},
)
