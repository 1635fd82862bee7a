"""Fields of soft particles: random points convolved with the shape of one particle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adair_plugins.degradations.convolution import convolve_valid


def line_kernel(length: float, width: float, angle: float) -> Tensor:
    """Sample a soft line segment: constant along it and fading out at its ends, Gaussian across.

    Args:
        length: of the segment, in pixels, >= 0.
        width: full width at half maximum, in pixels, > 0.
        angle: degrees anticlockwise from horizontal.

    Returns:
        ``(2r + 1, 2r + 1)`` float64, largest value 1, ``r = ceil(length / 2 + width)``.
    """
    radius = math.ceil(length / 2 + width)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y = -x[:, None]  # rows run downwards
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    sigma = width / math.sqrt(8 * math.log(2))
    beyond = (along.abs() - length / 2 + width).clamp(min=0)
    kernel = torch.exp(-(across.square() + beyond.square()) / (2 * sigma**2))
    return kernel / kernel.max()


def draw_points(height: int, width: int, kernel: Tensor, coverage: float, generator: torch.Generator) -> Tensor:
    """Scatter points so that the particles drawn at them cover a share of the picture.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        kernel: one particle, whose sum is its area.
        coverage: expected area of all particles over that of the picture.
        generator: source of the points and their strengths.

    Returns:
        ``(height + h - 1, width + w - 1)`` float32: 0, or a point's strength, uniform in (1/2, 1].
    """
    rows, columns = kernel.shape
    probability = min(1.0, coverage / kernel.sum().item())
    field = torch.rand(height + rows - 1, width + columns - 1, generator=generator)
    return torch.where(field < probability, 1 - field / (2 * max(probability, 1e-12)), torch.zeros(()))


def render(points: Tensor, kernel: Tensor) -> Tensor:
    """Draw a particle at every point; those that overlap add up.

    Returns:
        ``(H, W)`` float64, >= 0.
    """
    return convolve_valid(points, kernel).clamp(min=0)
