"""Haze over a synthetic depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, stack, uniform
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.counts import Count, draw_count
from adair_plugins.degradations.scene_parts import scene_parts
from adair_plugins.degradations.smooth_field import smooth_field

Parts = Annotated[
    Count,
    in_bounds(0, 1000),
    Field(description="parts of the scene, bounded as the image shows, that lie at a depth of their own"),
]


class HazeConfig(Config):
    """Options of `Haze`."""

    beta: Annotated[Range, in_bounds(0, 100)] = Field((0.6, 1.8), description="scattering coefficient of the air")
    airlight: Annotated[Range, in_bounds(0, 1)] = Field((0.7, 1.0), description="brightness of the haze, of 1")
    tint: Annotated[Range, in_bounds(0, 1)] = Field(
        (0.0, 0.04), description="largest deviation of a colour channel from the airlight"
    )
    distance: Annotated[Range, in_bounds(0, 100)] = Field((0.3, 0.8), description="mean depth of the scene")
    slope: Range = Field((0.0, 0.6), description="how much deeper the scene is at the top than at the bottom")
    relief: Annotated[Range, in_bounds(0, 100)] = Field(
        (0.0, 0.2), description="standard deviation of the depth about its slope"
    )
    parts: Parts = (0, 0)
    apart: Annotated[Range, in_bounds(0, 100)] = Field((0.0, 0.3), description="standard deviation of their depths")


class Haze(ConfiguredDegradation):
    """Light scattered in the air between the scene and the camera.

    Equation::

        y = x t + A (1 - t),    t = exp(-beta d),
        d(v, u) = max(distance + slope (1/2 - v) + relief g(v, u) + apart n_k, 0)

    with v the row over the height, g a smooth random field, k the part of the scene that a pixel belongs to
    (`scene_parts`) and n_k a normal number: depth jumps where an object ends, and there the picture changes, too.

    Source: Koschmieder's law as in He et al., "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009,
    equations 1 and 2; beta in [0.6, 1.8] and A in [0.7, 1] as in Li et al., "Benchmarking Single-Image Dehazing and
    Beyond" (RESIDE), IEEE TIP 2019. The depth is synthetic, because photos come without one.
    """

    config: HazeConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the air and the depth of the scene."""
        config = self.config
        channels, height, width = shape
        beta = uniform(config.beta, generator)
        airlight = uniform(config.airlight, generator)
        tint = uniform(config.tint, generator)
        distance = uniform(config.distance, generator)
        slope = uniform(config.slope, generator)
        relief = uniform(config.relief, generator)
        cast = 2 * torch.rand(channels, generator=generator, dtype=torch.float64) - 1
        field = smooth_field(height, width, generator)
        row = (torch.arange(height, dtype=torch.float64)[:, None] + 0.5) / height
        count = draw_count(config.parts, generator)
        apart = uniform(config.apart, generator)
        return {
            "beta": beta,
            "depth": distance + slope * (0.5 - row) + relief * field,
            "airlight": (airlight + tint * cast).clamp(0, 1)[:, None, None],
            "seeds": torch.rand(count, 2, generator=generator, dtype=torch.float64),
            "shifts": apart * torch.randn(count, generator=generator, dtype=torch.float64),
            "color weight": torch.rand((), generator=generator, dtype=torch.float64).item(),
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Mix the scene's light with the air's."""
        transmission = torch.stack([_transmission(image, draw) for image, draw in zip(images, draws, strict=True)]).to(
            images
        )
        return images * transmission + stack(draws, "airlight", images) * (1 - transmission)


def _transmission(image: Tensor, draws: Draws) -> Tensor:
    """Give the share of the scene's light that arrives, ``(1, H, W)``."""
    depth = draws["depth"]
    if len(draws["seeds"]):
        depth = depth + draws["shifts"][scene_parts(image, draws["seeds"], draws["color weight"])]
    return torch.exp(-draws["beta"] * depth.clamp(min=0))[None].float()


SPEC = DegradationSpec(
    name="haze", summary="haze by the scattering model over a synthetic depth", config=HazeConfig, build=Haze
)
