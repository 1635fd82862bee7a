"""Removing the noise of cameras from their finished pictures."""

from __future__ import annotations

from pydantic import Field

from adair_core import Choice, Protocol, TaskSpec
from adair_plugins.degradations.camera_noise import CameraNoiseConfig
from adair_plugins.tasks.protocol_files import load_protocol


class RealDenoiseConfig(CameraNoiseConfig):
    """Which noise to train on; the protocol stays the same."""

    pairs: bool = Field(
        False, description="train and judge on folders of real pairs, as on CC15 or SIDD, not on synthetic noise"
    )


def degradation(config: RealDenoiseConfig) -> Choice | None:
    """Take each picture with another camera."""
    if config.pairs:
        return None
    return Choice(name="camera-noise", options=config.model_dump(mode="json", exclude={"pairs"}))


def protocol(config: RealDenoiseConfig) -> Protocol:
    """Judge on three fixed exposures, or on real pairs."""
    return load_protocol("real-denoise-pairs" if config.pairs else "real-denoise")


SPEC = TaskSpec(
    name="real-denoise",
    summary="remove camera noise from finished pictures",
    config=RealDenoiseConfig,
    degradation=degradation,
    protocol=protocol,
    defaults={"patch_size": 64},
)
