"""Photon shot noise and read noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, stack, uniform
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.photons import draw_seed, log_uniform, shot_noise


class PoissonNoiseConfig(Config):
    """Options of `PoissonNoise`."""

    photons: Annotated[Range, in_bounds(1e-3, 1e9)] = Field(
        (20.0, 1000.0), description="photons counted at white, drawn log-uniformly; fewer = noisier"
    )
    read: Annotated[Range, in_bounds(0)] = Field((0.0, 8.0), description="standard deviation of the read noise, of 255")


class PoissonNoise(ConfiguredDegradation):
    """Shot noise, whose variance grows with the signal, and Gaussian read noise; not clipped.

    Equation::

        y = k / P + (read / 255) n,    k ~ Poisson(P x),  n ~ N(0, 1)

    so that ``E[y] = x`` and ``Var[y] = x / P + (read / 255)^2``, P the photons at white. Photons are counted of the
    picture's values as they are, not of linear light: the usual training noise, and no model of a sensor, which
    `CameraNoise` is.

    Source: Foi et al., "Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data",
    IEEE TIP 2008.
    """

    config: PoissonNoiseConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the levels, the seed of the counts and the read noise."""
        return {
            "photons": log_uniform(self.config.photons, generator),
            "read": uniform(self.config.read, generator),
            "seed": draw_seed(generator),
            "noise": torch.randn(shape, generator=generator),
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Count photons and read them out."""
        pairs = zip(images, draws, strict=True)
        counted = [shot_noise(image, draw["photons"], draw["seed"]) for image, draw in pairs]
        read = stack(draws, "noise", images) * (stack(draws, "read", images) / 255)
        return torch.stack(counted) + read


SPEC = DegradationSpec(
    name="poisson-noise", summary="photon shot noise and read noise", config=PoissonNoiseConfig, build=PoissonNoise
)
