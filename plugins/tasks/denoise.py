"""Removing Gaussian noise, whose strength the network is not told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adair_core import Choice, Protocol, Range, TaskSpec
from adair_core.degradation import in_bounds
from adair_plugins.degradations.gaussian_noise import GaussianNoiseConfig
from adair_plugins.tasks.protocol_files import load_protocol, within


class DenoiseConfig(GaussianNoiseConfig):
    """Which noise to train on; judged at those of sigma 15, 25 and 50 that lie in the range."""

    sigma: Annotated[Range, in_bounds(0, 255)] = Field(
        (5, 55), description="standard deviation of the noise, of 255: one number, or low,high for blind denoising"
    )


def degradation(config: DenoiseConfig) -> Choice:
    """Add noise of a strength drawn anew for each image."""
    return Choice(name="gaussian-noise", options=config.model_dump(mode="json"))


def protocol(config: DenoiseConfig) -> Protocol:
    """Judge at the standard strengths that the options leave."""
    return within(load_protocol("denoise"), "sigma", config.sigma)


SPEC = TaskSpec(
    name="denoise",
    summary="remove Gaussian noise of unknown strength",
    config=DenoiseConfig,
    degradation=degradation,
    protocol=protocol,
    defaults={"patch_size": 64},
)
