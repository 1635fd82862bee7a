"""Too little light: underexposure with the sensor's noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, uniform
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.photons import draw_seed, log_uniform, shot_noise

DISPLAY_GAMMA = 2.2


class LowLightConfig(Config):
    """Options of `LowLight`."""

    exposure: Annotated[Range, in_bounds(-20, 20)] = Field(
        (-5.0, -2.0), description="exposure in stops; -3 = an eighth of the light"
    )
    gamma: Annotated[Range, in_bounds(0.1, 10)] = Field(
        (1.0, 1.4), description="gamma of the developed picture; above 1 = darker shadows"
    )
    photons: Annotated[Range, in_bounds(1e-3, 1e9)] = Field(
        (1000.0, 20000.0), description="photons at the clean picture's white, drawn log-uniformly; fewer = noisier"
    )
    read: Annotated[Range, in_bounds(0)] = Field(
        (0.02, 0.3), description="standard deviation of the read noise in linear light, of 255"
    )


class LowLight(ConfiguredDegradation):
    """A short exposure of the scene, with shot and read noise before the development of the picture.

    Equation::

        l = 2^exposure x^2.2,    z = k / P + (read / 255) n,    k ~ Poisson(P l),  n ~ N(0, 1)
        y = max(z, 0)^(gamma / 2.2)

    so the noise is that of the sensor, in linear light, and largest in the developed shadows.

    Source: the gamma darkening of Lore et al., "LLNet", Pattern Recognition 2017, with the noise in
    linear light as in Foi et al., IEEE TIP 2008 (see `PoissonNoise`).
    """

    config: LowLightConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the exposure, the development and the noise."""
        config = self.config
        return {
            "exposure": uniform(config.exposure, generator),
            "gamma": uniform(config.gamma, generator),
            "photons": log_uniform(config.photons, generator),
            "read": uniform(config.read, generator),
            "seed": draw_seed(generator),
            "noise": torch.randn(shape, generator=generator),
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Expose each image."""
        return torch.stack([expose(image, draw) for image, draw in zip(images, draws, strict=True)])


def expose(image: Tensor, draw: Draws) -> Tensor:
    """Take the picture: ``(C, H, W)`` -> ``(C, H, W)``, in float64 inside, where powers round alike everywhere."""
    light = image.double().clamp(min=0).pow(DISPLAY_GAMMA) * 2.0 ** draw["exposure"]
    noise = draw["noise"].to(light) * (draw["read"] / 255)
    signal = shot_noise(light, draw["photons"], draw["seed"]) + noise
    return signal.clamp(min=0).pow(draw["gamma"] / DISPLAY_GAMMA).to(image.dtype)


SPEC = DegradationSpec(
    name="low-light", summary="underexposure with shot and read noise", config=LowLightConfig, build=LowLight
)
