"""Falling snow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, stack, uniform
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.counts import Count, draw_count
from adair_plugins.degradations.photons import log_uniform
from adair_plugins.degradations.streaks import draw_points, line_kernel, render


class SnowConfig(Config):
    """Options of `Snow`."""

    layers: Annotated[Count, in_bounds(1, 10)] = Field((2, 4), description="layers of flakes, each with its own size")
    size: Annotated[Range, in_bounds(0.5, 100)] = Field(
        (1.0, 8.0), description="diameter of a layer's flakes in pixels, drawn log-uniformly"
    )
    motion: Annotated[Range, in_bounds(0, 500)] = Field(
        (0.0, 2.0), description="how far the flakes fall during the exposure, in diameters"
    )
    tilt: Annotated[Range, in_bounds(-90, 90)] = Field(
        (-50.0, 50.0), description="direction of fall, degrees from the vertical, positive = to the left"
    )
    coverage: Annotated[Range, in_bounds(0, 10)] = Field(
        (0.02, 0.12), description="area of one layer's flakes over that of the picture"
    )
    opacity: Annotated[Range, in_bounds(0, 1)] = Field((0.6, 1.0), description="opacity of the densest flakes")
    brightness: Annotated[Range, in_bounds(0, 1)] = Field((0.85, 1.0), description="brightness of the snow, of 1")
    veil: Annotated[Range, in_bounds(0, 1)] = Field(
        (0.0, 0.15), description="opacity of the snow too far away to be seen as flakes"
    )


class Snow(ConfiguredDegradation):
    """Soft bright flakes in front of the picture, and a veil of distant ones.

    Equation::

        y = x (1 - m) + c m,    m = 1 - (1 - veil) prod_l (1 - min(a (N_l * K_l), 1))

    where ``N_l`` is sparse noise, ``K_l`` a flake of the layer's size smeared by its fall, a the opacity and c the
    brightness.

    Source: the masked composition of Liu et al., "DesnowNet", IEEE TIP 2018.
    """

    config: SnowConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the layers and where their flakes are."""
        config = self.config
        _, height, width = shape
        count = draw_count(config.layers, generator)
        tilt = uniform(config.tilt, generator)
        motion = uniform(config.motion, generator)
        opacity = uniform(config.opacity, generator)
        brightness = uniform(config.brightness, generator)
        veil = uniform(config.veil, generator)
        layers = []
        for _ in range(count):
            size = log_uniform(config.size, generator)
            coverage = uniform(config.coverage, generator)
            kernel = line_kernel(motion * size, size, 90.0 - tilt)
            points = draw_points(height, width, kernel, coverage, generator)
            layers.append({"kernel": kernel, "points": points})
        return {"opacity": opacity, "brightness": brightness, "veil": veil, "layers": layers}

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Lay the snow over the images."""
        mask = torch.stack([snow_mask(draw, images.device) for draw in draws])[:, None].to(images.dtype)
        return images * (1 - mask) + stack(draws, "brightness", images) * mask


def snow_mask(draw: Draws, device: torch.device) -> Tensor:
    """Render the opacity of all layers of one image: ``(H, W)`` float64 in [0, 1]."""
    clear = 1.0 - draw["veil"]
    for layer in draw["layers"]:
        flakes = render(layer["points"].to(device), layer["kernel"])
        clear = clear * (1 - (draw["opacity"] * flakes).clamp(max=1))
    return 1 - torch.as_tensor(clear)


SPEC = DegradationSpec(name="snow", summary="falling flakes of several sizes and a veil", config=SnowConfig, build=Snow)
