"""Rain streaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, uniform
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.counts import Count, draw_count
from adair_plugins.degradations.streaks import draw_points, line_kernel, render


class RainConfig(Config):
    """Options of `Rain`."""

    layers: Annotated[Count, in_bounds(1, 10)] = Field(
        (1, 3), description="layers of streaks, near to far, each with its own length, width and direction"
    )
    length: Annotated[Range, in_bounds(1, 500)] = Field((15.0, 50.0), description="length of the streaks, in pixels")
    width: Annotated[Range, in_bounds(0.5, 50)] = Field((0.8, 3.0), description="width of the streaks, in pixels")
    tilt: Annotated[Range, in_bounds(-90, 90)] = Field(
        (-40.0, 40.0), description="mean direction, degrees from the vertical, positive = falling to the left"
    )
    spread: Annotated[Range, in_bounds(0, 90)] = Field(
        (0.0, 8.0), description="largest deviation of a layer from the mean direction, in degrees"
    )
    coverage: Annotated[Range, in_bounds(0, 10)] = Field(
        (0.01, 0.12), description="area of one layer's streaks over that of the picture"
    )
    brightness: Annotated[Range, in_bounds(0, 1)] = Field(
        (0.2, 0.8), description="light that the brightest streak adds, of 1"
    )


class Rain(ConfiguredDegradation):
    """Streaks of light added to the picture, which saturates at 1.

    Equation::

        y = min(x + sum_l b_l (N_l * K_l), 1)

    where ``N_l`` is sparse noise and ``K_l`` a motion-blurred drop: a soft line of the layer's length, width and
    direction.

    Source: the additive model of Yang et al., "Deep Joint Rain Detection and Removal from a Single Image", CVPR
    2017 (Rain100L and Rain100H); streaks as motion-blurred noise after Garg and Nayar,
    "Photorealistic Rendering of Rain Streaks", ACM TOG 2006, in the simplified form in use since.
    """

    config: RainConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the direction, the layers and where their drops are."""
        config = self.config
        _, height, width = shape
        count = draw_count(config.layers, generator)
        tilt = uniform(config.tilt, generator)
        spread = uniform(config.spread, generator)
        layers = []
        for _ in range(count):
            length = uniform(config.length, generator)
            thickness = uniform(config.width, generator)
            angle = 90.0 - tilt + uniform((-spread, spread), generator)
            coverage = uniform(config.coverage, generator)
            brightness = uniform(config.brightness, generator)
            kernel = line_kernel(length, thickness, angle)
            points = draw_points(height, width, kernel, coverage, generator)
            layers.append({"kernel": kernel, "points": points, "brightness": brightness})
        return {"layers": layers}

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Add the streaks."""
        rain = torch.stack([sum_of_layers(draw, images.device) for draw in draws])
        return torch.clamp(images + rain[:, None].to(images.dtype), max=1)


def sum_of_layers(draw: Draws, device: torch.device) -> Tensor:
    """Render all layers of one image: ``(H, W)`` float64, >= 0."""
    rendered = [layer["brightness"] * render(layer["points"].to(device), layer["kernel"]) for layer in draw["layers"]]
    return torch.stack(rendered).sum(0)


SPEC = DegradationSpec(
    name="rain", summary="rain streaks of several directions, widths and densities", config=RainConfig, build=Rain
)
