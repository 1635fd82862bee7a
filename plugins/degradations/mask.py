"""Damage that hides the picture: scratches and holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, stack, uniform
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.convolution import convolve_valid
from adair_plugins.degradations.counts import Count, draw_count
from adair_plugins.degradations.paths import SAMPLES_PER_PIXEL, draw_wander, splat, wandering_path
from adair_plugins.degradations.smooth_field import smooth_field
from adair_plugins.degradations.streaks import line_kernel

OPACITY = 1.5
"""Of the centre of a scratch before it is clipped to 1: the profile is a Gaussian with a flat top."""
WIDENING = math.sqrt(math.log2(2 * OPACITY))
"""How much wider at half of the clipped maximum it is for that, than the Gaussian."""


class MaskConfig(Config):
    """Options of `Mask`."""

    scratches: Annotated[Count, in_bounds(0, 100)] = Field((1, 6), description="number of scratches")
    width: Annotated[Range, in_bounds(0.5, 100)] = Field((1.0, 3.0), description="width of the scratches, in pixels")
    length: Annotated[Range, in_bounds(0, 2)] = Field(
        (0.2, 0.9), description="length of a scratch over the diagonal of the picture"
    )
    holes: Annotated[Count, in_bounds(0, 100)] = Field((0, 3), description="number of holes")
    size: Annotated[Range, in_bounds(0, 2)] = Field(
        (0.08, 0.3), description="diameter of a hole over the shorter side of the picture"
    )
    fill: Annotated[Range, in_bounds(0, 1)] = Field((0.0, 1.0), description="brightness of what is missing, of 1")


class Mask(ConfiguredDegradation):
    """Scratches and holes, filled with one brightness.

    Equation::

        y = x (1 - m) + fill m

    where m in [0, 1] is 1 in the damage: curves of some width whose direction wanders, and blobs with uneven rims.

    Source: inpainting's masked observation, Bertalmio et al., "Image Inpainting", SIGGRAPH 2000, with free-form
    strokes as in Yu et al., "Free-Form Image Inpainting with Gated Convolution", ICCV 2019.
    """

    config: MaskConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the damage."""
        config = self.config
        _, height, width = shape
        fill = uniform(config.fill, generator)
        scratches = draw_count(config.scratches, generator)
        holes = draw_count(config.holes, generator)
        thickness = uniform(config.width, generator)
        paths = []
        for _ in range(scratches):
            length = uniform(config.length, generator) * math.hypot(height, width)
            angle = uniform((0.0, 180.0), generator)
            path = wandering_path(length, angle, 0.3, draw_wander(generator))
            paths.append(path + draw_position(height, width, generator))
        mask = hole_mask(height, width, [draw_hole(self.config, generator) for _ in range(holes)], generator)
        if paths:
            mask = torch.maximum(mask, scratch_mask(torch.cat(paths), thickness, height, width))
        return {"fill": fill, "mask": mask[None].float()}

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Fill the damage."""
        mask = stack(draws, "mask", images)
        return images * (1 - mask) + stack(draws, "fill", images) * mask


def draw_position(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw a point of the picture: ``(2,)`` float64, (row, column)."""
    sides = torch.tensor([height, width], dtype=torch.float64)
    return torch.rand(2, generator=generator, dtype=torch.float64) * sides - 0.5


def scratch_mask(positions: Tensor, thickness: float, height: int, width: int) -> Tensor:
    """Draw curves of some thickness with soft rims.

    Args:
        positions: ``(N, 2)`` float64, points close together along the curves.
        thickness: full width at half maximum, in pixels; the grid makes those below 2 up to 0.4 wider.
        height: of the picture.
        width: of the picture.

    Returns:
        ``(height, width)`` float64 in [0, 1].
    """
    nib = line_kernel(0, thickness / WIDENING, 0)
    radius = nib.shape[0] // 2
    points = splat(positions + radius, height + 2 * radius, width + 2 * radius)
    # Along a straight curve the nibs add up to this on its centre line.
    full = SAMPLES_PER_PIXEL * nib[radius].sum()
    return (convolve_valid(points, nib) / full * OPACITY).clamp(0, 1)


def draw_hole(config: MaskConfig, generator: torch.Generator) -> Tensor:
    """Draw a hole: ``(5,)`` float64: relative row, column, diameter, aspect and angle in radians."""
    row, column, aspect, angle = torch.rand(4, generator=generator, dtype=torch.float64)
    size = uniform(config.size, generator)
    return torch.stack([row, column, torch.tensor(size, dtype=torch.float64), 0.5 + aspect / 2, angle * math.pi])


def hole_mask(height: int, width: int, holes: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Draw holes: ellipses whose rims are uneven.

    Returns:
        ``(height, width)`` float64 in [0, 1], with rims one pixel soft.
    """
    uneven = 1 + 0.2 * smooth_field(height, width, generator, cycles=4)
    y = torch.arange(height, dtype=torch.float64)[:, None] + 0.5
    x = torch.arange(width, dtype=torch.float64) + 0.5
    mask = torch.zeros(height, width, dtype=torch.float64)
    for row, column, size, aspect, angle in (hole.tolist() for hole in holes):
        radius = size * min(height, width) / 2
        down, right = y - row * height, x - column * width
        along = right * math.cos(angle) + down * math.sin(angle)
        across = (down * math.cos(angle) - right * math.sin(angle)) / aspect
        distance = (along.square() + across.square()).sqrt() * uneven
        mask = torch.maximum(mask, (radius - distance + 0.5).clamp(0, 1))
    return mask


SPEC = DegradationSpec(name="mask", summary="scratches and holes that hide the picture", config=MaskConfig, build=Mask)
