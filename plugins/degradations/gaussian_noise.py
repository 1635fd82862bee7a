"""Additive white Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, stack, uniform
from adair_core.specs import Config, DegradationSpec


class GaussianNoiseConfig(Config):
    """Options of `GaussianNoise`."""

    sigma: Annotated[Range, in_bounds(0)] = Field((5.0, 55.0), description="standard deviation of the noise, of 255")


class GaussianNoise(ConfiguredDegradation):
    """White Gaussian noise, independent in every pixel and channel; not clipped.

    Equation::

        y = x + (sigma / 255) n,    n ~ N(0, 1)

    Source: the additive noise of every denoising benchmark, such as Zhang et al., "Beyond a Gaussian Denoiser",
    IEEE TIP 2017.
    """

    config: GaussianNoiseConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw sigma and the noise."""
        return {
            "sigma": uniform(self.config.sigma, generator),
            "noise": torch.randn(shape, generator=generator),
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Add the noise."""
        return images + stack(draws, "noise", images) * (stack(draws, "sigma", images) / 255)


SPEC = DegradationSpec(
    name="gaussian-noise", summary="additive white Gaussian noise", config=GaussianNoiseConfig, build=GaussianNoise
)
