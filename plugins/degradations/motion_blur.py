"""Motion blur along a straight or shaken path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, Range, in_bounds, uniform
from adair_core.specs import Config, DegradationSpec
from adair_plugins.degradations.convolution import convolve

HARMONICS = 4
SAMPLES_PER_PIXEL = 8


class MotionBlurConfig(Config):
    """Options of `MotionBlur`."""

    length: Annotated[Range, in_bounds(0, 1000)] = Field(
        (4.0, 24.0), description="length of the path during the exposure, in pixels"
    )
    angle: Range = Field((0.0, 180.0), description="mean direction, degrees anticlockwise from horizontal")
    shake: Annotated[Range, in_bounds(0, 1)] = Field(
        (0.0, 0.8), description="how far the direction strays during the exposure; 0 = a straight line"
    )


def motion_path(length: float, angle: float, shake: float, wander: Tensor) -> Tensor:
    """Follow the image over the sensor at constant speed.

    Args:
        length: of the path, in pixels.
        angle: mean direction in degrees, anticlockwise from horizontal.
        shake: scale of the direction's wandering, in [0, 1].
        wander: ``(K,)`` float64, amplitudes of ``cos(k pi t)``, k = 1..K, in the direction.

    Returns:
        ``(N, 2)`` float64, positions (row, column) about their mean, equally spaced in time.
    """
    count = max(1, math.ceil(length * SAMPLES_PER_PIXEL))
    time = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    order = torch.arange(1, len(wander) + 1, dtype=torch.float64)
    stray = (torch.cos(math.pi * time[:, None] * order) * (wander / order)).sum(1)
    direction = math.radians(angle) + shake * math.pi / 2 * stray
    steps = torch.stack([-torch.sin(direction), torch.cos(direction)], 1) * (length / count)
    path = steps.cumsum(0)
    return path - path.mean(0)


def path_kernel(path: Tensor) -> Tensor:
    """Spread each position of a path over its four nearest pixels, bilinearly.

    Args:
        path: ``(N, 2)`` float64, (row, column) relative to the kernel's centre.

    Returns:
        ``(2r + 1, 2r + 1)`` float64 with sum 1.
    """
    radius = math.ceil(path.abs().max().item() - 1e-9)
    size = 2 * radius + 1
    position = (path + radius).clamp(0, 2 * radius)
    corner = position.floor().clamp(max=max(size - 2, 0))
    fraction = position - corner
    kernel = torch.zeros(size * size, dtype=torch.float64)
    for row in (0, 1):
        for column in (0, 1):
            weight = (fraction[:, 0] if row else 1 - fraction[:, 0]) * (
                fraction[:, 1] if column else 1 - fraction[:, 1]
            )
            index = ((corner[:, 0] + row) * size + corner[:, 1] + column).long().clamp(max=size * size - 1)
            kernel.index_add_(0, index, weight)
    return (kernel / len(path)).view(size, size)


class MotionBlur(ConfiguredDegradation):
    """The image moves during the exposure; reflected at its borders.

    Equation::

        y = x * k,    k(u) = 1/T integral_0^T delta(u - p(t)) dt,    p'(t) = v (cos a(t), sin a(t))
        a(t) = angle + shake (pi / 2) sum_k n_k cos(k pi t / T) / k,    n_k ~ N(0, 1/4),  k = 1..4

    Source: the integral is that of Levin et al., "Understanding and Evaluating Blind Deconvolution Algorithms",
    CVPR 2009; random camera paths for training as in Boracchi and Foi, "Modeling the Performance of Image
    Restoration from Motion Blur", IEEE TIP 2012. The wandering of the direction is our own, simpler choice.
    """

    config: MotionBlurConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the path."""
        return {
            "length": uniform(self.config.length, generator),
            "angle": uniform(self.config.angle, generator),
            "shake": uniform(self.config.shake, generator),
            "wander": torch.randn(HARMONICS, generator=generator, dtype=torch.float64) / 2,
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Convolve each image with its path."""
        blurred = []
        for image, draw in zip(images, draws, strict=True):
            path = motion_path(draw["length"], draw["angle"], draw["shake"], draw["wander"])
            blurred.append(convolve(image, path_kernel(path)))
        return torch.stack(blurred)


SPEC = DegradationSpec(
    name="motion-blur", summary="motion blur along a straight or shaken path", config=MotionBlurConfig, build=MotionBlur
)
