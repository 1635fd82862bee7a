"""Gaussian blur, isotropic and anisotropic."""

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
from adair_plugins.degradations.storage import STORED, draw_share, stored


class GaussianBlurConfig(Config):
    """Options of `GaussianBlur`."""

    sigma: Annotated[Range, in_bounds(0, 100)] = Field(
        (0.5, 4.0), description="standard deviation along the wider axis, in pixels"
    )
    ratio: Annotated[Range, in_bounds(0.01, 1)] = Field(
        (0.4, 1.0), description="narrower axis over wider axis; 1 = isotropic"
    )
    angle: Range = Field((0.0, 180.0), description="direction of the wider axis, degrees anticlockwise from horizontal")
    stored: float = Field(0.0, ge=0, le=1, description=STORED)


def gaussian_kernel(sigma: float, ratio: float = 1.0, angle: float = 0.0) -> Tensor:
    """Sample a Gaussian at whole pixels within 4 sigma.

    Args:
        sigma: standard deviation along the wider axis, in pixels, >= 0.
        ratio: narrower over wider axis, in (0, 1].
        angle: of the wider axis, in degrees anticlockwise from horizontal.

    Returns:
        ``(2r + 1, 2r + 1)`` float64 with sum 1, ``r = floor(4 sigma + 1/2)``.
    """
    radius = int(4 * sigma + 0.5)
    if radius == 0:
        return torch.ones(1, 1, dtype=torch.float64)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y = -x[:, None]  # rows run downwards
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    kernel = torch.exp(-(along.square() + (across / ratio).square()) / (2 * sigma**2))
    return kernel / kernel.sum()


class GaussianBlur(ConfiguredDegradation):
    """Convolution with a Gaussian, reflecting the image at its borders; rounded to 8 bits if stored.

    Equation::

        y = x * k,    k(u) = exp(-u^T S^-1 u / 2) / Z,    S = R(angle) diag(sigma^2, (ratio sigma)^2) R(angle)^T

    Source: Zhang et al., "Learning a Single Convolutional Super-Resolution Network for Multiple Degradations",
    CVPR 2018 (isotropic and anisotropic Gaussian kernels).
    """

    config: GaussianBlurConfig

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw the kernel's shape."""
        return {
            "sigma": uniform(self.config.sigma, generator),
            "ratio": uniform(self.config.ratio, generator),
            "angle": uniform(self.config.angle, generator),
            "stored": draw_share(self.config.stored, generator, "stored"),
        }

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Convolve each image with its kernel."""
        pairs = zip(images, draws, strict=True)
        blurred = [
            convolve(image, gaussian_kernel(draw["sigma"], draw["ratio"], draw["angle"])) for image, draw in pairs
        ]
        return stored(torch.stack(blurred), draws)


SPEC = DegradationSpec(
    name="gaussian-blur",
    summary="isotropic or anisotropic Gaussian blur",
    config=GaussianBlurConfig,
    build=GaussianBlur,
)
