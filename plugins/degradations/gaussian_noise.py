"""Additive white Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, stack, uniform
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.storage import STORED, draw_share, stored


class GaussianNoiseConfig(Config):
    """Options of `GaussianNoise`."""

    sigma: Annotated[Range, in_bounds(0)] = Field((5.0, 55.0), description="standard deviation of the noise, of 255")
    shared: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the images that have the same noise in all channels, like the grain of film",
    )
    stored: float = Field(0.0, ge=0, le=1, description=STORED)


class GaussianNoise(ConfiguredDegradation):
    """White Gaussian noise, independent in every pixel, and in every channel unless it is shared; clipped if stored.

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
            "shared": draw_share(self.config.shared, generator, "shared"),
            "stored": draw_share(self.config.stored, generator, "stored"),
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Add the noise."""
        drawn = stack(draws, "noise", images)
        noise = torch.stack(
            [own[:1].expand_as(own) if draw["shared"] else own for own, draw in zip(drawn, draws, strict=True)]
        )
        return stored(images + noise * (stack(draws, "sigma", images) / 255), draws)


SPEC = DegradationSpec(
    name="gaussian-noise", summary="additive white Gaussian noise", config=GaussianNoiseConfig, build=GaussianNoise
)
