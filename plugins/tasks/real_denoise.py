"""Removing the noise of cameras from their finished pictures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adair_core import Choice, Protocol, Range, TaskSpec
from adair_core.degradation import in_bounds
from adair_plugins.degradations.camera_noise import CameraNoiseConfig
from adair_plugins.degradations.jpeg import RESOLUTION, WantedSubsampling
from adair_plugins.tasks.protocol_files import load_protocol


class RealDenoiseConfig(CameraNoiseConfig):
    """Which noise to train on; the protocol stays the same.

    Unlike the degradation's own, its pictures are in the colours of many cameras, half of them are denoised by the
    camera, and most are JPEGs of fewer colours than pixels, as cameras write them: the noise of finished pictures is
    hardly ever what the sensor made.
    """

    photons: Annotated[Range, in_bounds(1e-3, 1e9)] = Field(
        (50.0, 5000.0), description="photons counted at white in green, drawn log-uniformly; fewer = noisier"
    )
    subsampling: WantedSubsampling = Field("random", description=RESOLUTION)
    matrix: Annotated[Range, in_bounds(0, 2)] = Field(
        (0.5, 1.3),
        description="strength of the matrix from the sensor's colours to the picture's; 1 = a usual camera's",
    )
    processed: float = Field(
        0.5, ge=0, le=1, description="share of the pictures whose noise the camera has smoothed and sharpened itself"
    )
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
