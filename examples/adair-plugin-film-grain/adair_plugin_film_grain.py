"""Film grain: what silver halide crystals add to a photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from adair_core import Config, ConfiguredDegradation, DegradationSpec, Draws, Range, hookimpl
from adair_core.degradation import in_bounds, stack, uniform
from pydantic import Field
from torch import Tensor
from torch.nn import functional


class FilmGrainConfig(Config):
    """Options of `FilmGrain`."""

    strength: Annotated[Range, in_bounds(0, 128)] = Field(
        (5.0, 30.0), description="standard deviation in mid-tones, of 255: low,high or one number"
    )
    size: Annotated[Range, in_bounds(0.3, 4)] = Field(
        (0.5, 1.2), description="size of the grains, standard deviation in pixels: low,high or one number"
    )
    monochrome: bool = Field(False, description="the same grain in all channels, as in black-and-white film")


class FilmGrain(ConfiguredDegradation):
    """Correlated noise, strongest in mid-tones, absent in black and white.

    Equation::

        y = x + (strength / 255) 2 sqrt(x (1 - x)) g

    where g is white Gaussian noise, blurred with a Gaussian of standard deviation ``size`` and scaled to variance 1.
    A pixel that n opaque grains cover with probability x is a binomial fraction: its variance is x (1 - x) / n.

    Source: the binomial variance of grain is that of the Boolean model in Newson, Delon, Galerne, "A Stochastic Film
    Grain Model for Resolution-Independent Rendering", Computer Graphics Forum 2017; a filtered noise scaled by a
    function of the intensity is the form of Norkin, Birkbeck, "Film Grain Synthesis for AV1 Video Codec", DCC 2018.
    """

    config: FilmGrainConfig

    def __init__(self, config: FilmGrainConfig) -> None:
        super().__init__(config)
        self.radius = math.ceil(3 * config.size[1])

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw strength, size and the white noise, with a margin so that the grain is the same up to the border."""
        channels, height, width = shape
        strength = uniform(self.config.strength, generator)
        size = uniform(self.config.size, generator)
        planes = 1 if self.config.monochrome else channels
        noise = torch.randn(planes, height + 2 * self.radius, width + 2 * self.radius, generator=generator)
        return {"strength": strength, "size": size, "noise": noise.expand(channels, -1, -1)}

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Add the grain of each image."""
        amplitude = stack(draws, "strength", images) / 255 * 2 * (images.clamp(0, 1) * (1 - images.clamp(0, 1))).sqrt()
        return images + amplitude * self._grain(stack(draws, "noise", images), stack(draws, "size", images))

    def _grain(self, noise: Tensor, size: Tensor) -> Tensor:
        """Blur each image's noise, ``(B, C, H + 2r, W + 2r)`` -> ``(B, C, H, W)``, and scale it to variance 1."""
        batch, channels, height, width = noise.shape
        distance = torch.arange(-self.radius, self.radius + 1, dtype=noise.dtype, device=noise.device)
        kernel = torch.exp(-0.5 * (distance / size.view(-1, 1)) ** 2)
        # The squares of both passes sum to 1, and so does the variance of the blurred noise.
        kernel = kernel / kernel.norm(dim=1, keepdim=True)
        kernels = kernel.repeat_interleave(channels, dim=0)[:, None]
        planes = noise.reshape(1, batch * channels, height, width)
        planes = functional.conv2d(planes, kernels[..., None], groups=batch * channels)
        planes = functional.conv2d(planes, kernels[..., None, :], groups=batch * channels)
        return planes.view(batch, channels, *planes.shape[-2:])


@hookimpl
def adair_degradations() -> list[DegradationSpec]:
    """Offer ``film-grain``, which is also the task of removing it."""
    return [
        DegradationSpec(
            name="film-grain",
            summary="grain of photographic film",
            config=FilmGrainConfig,
            build=FilmGrain,
        )
    ]
