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
from adair_plugins.degradations.paths import draw_wander, splat, wandering_path
from adair_plugins.degradations.storage import STORED, draw_share, stored


class MotionBlurConfig(Config):
    """Options of `MotionBlur`."""

    length: Annotated[Range, in_bounds(0, 1000)] = Field(
        (4.0, 24.0), description="length of the path during the exposure, in pixels"
    )
    angle: Range = Field((0.0, 180.0), description="mean direction, degrees anticlockwise from horizontal")
    shake: Annotated[Range, in_bounds(0, 1)] = Field(
        (0.0, 0.8), description="how far the direction strays during the exposure; 0 = a straight line"
    )
    stored: float = Field(0.0, ge=0, le=1, description=STORED)


def path_kernel(path: Tensor) -> Tensor:
    """Make the kernel of a path: the share of the exposure spent at each pixel.

    Args:
        path: ``(N, 2)`` float64, (row, column) relative to the kernel's centre.

    Returns:
        ``(2r + 1, 2r + 1)`` float64 with sum 1.
    """
    # 1e-9: a path along an axis strays from it by rounding errors alone.
    radius = math.ceil(path.abs().max().item() - 1e-9)
    size = 2 * radius + 1
    return splat((path + radius).clamp(0, 2 * radius), size, size) / len(path)


class MotionBlur(ConfiguredDegradation):
    """The image moves during the exposure; reflected at its borders, rounded to 8 bits if stored.

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
            "wander": draw_wander(generator),
            "stored": draw_share(self.config.stored, generator, "stored"),
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Convolve each image with its path."""
        blurred = []
        for image, draw in zip(images, draws, strict=True):
            path = wandering_path(draw["length"], draw["angle"], draw["shake"], draw["wander"])
            blurred.append(convolve(image, path_kernel(path)))
        return stored(torch.stack(blurred), draws)


SPEC = DegradationSpec(
    name="motion-blur", summary="motion blur along a straight or shaken path", config=MotionBlurConfig, build=MotionBlur
)
