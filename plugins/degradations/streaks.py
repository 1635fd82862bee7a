"""Fields of soft particles: random points convolved with the shape of one particle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adair_plugins.degradations.convolution import convolve_valid


def line_kernel(length: float, width: float, angle: float) -> Tensor:
    """Sample a soft line segment: half a cosine along it, brightest in the middle, and Gaussian across.

    Args:
        length: of the segment, in pixels, >= 0; 0 = a dot.
        width: full width at half maximum, in pixels, > 0.
        angle: degrees anticlockwise from horizontal.

    Returns:
        ``(2r + 1, 2r + 1)`` float64, largest value 1, ``r = ceil(max(length / 2 + width, 3/2 width))``.
    """
    radius = math.ceil(max(length / 2 + width, 1.5 * width))  # across, 0.2 % is cut off
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y = -x[:, None]  # rows run downwards
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    half = length / 2 + width
    profile = torch.cos(along * (math.pi / 2 / half)) * (along.abs() < half)
    return profile * torch.exp(across.square() * (-4 * math.log(2) / width**2))


def draw_points(height: int, width: int, kernel: Tensor, coverage: float, generator: torch.Generator) -> Tensor:
    """Scatter points so that the particles drawn at them cover a share of the picture.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        kernel: one particle, whose sum is its area.
        coverage: expected area of all particles over that of the picture.
        generator: source of the points and their strengths.

    Returns:
        ``(height + h - 1, width + w - 1)`` float32: 0, or a point's strength in (0, 1], the square of a uniform number:
        a few bright particles among many faint ones.
    """
    rows, columns = kernel.shape
    probability = min(1.0, coverage / kernel.sum().item())
    field = torch.rand(height + rows - 1, width + columns - 1, generator=generator)
    strength = (1 - field / max(probability, 1e-12)).clamp(min=0)
    return strength.square()


def render(points: Tensor, kernel: Tensor) -> Tensor:
    """Draw a particle at every point; those that overlap add up.

    Returns:
        ``(H, W)`` float64, >= 0.
    """
    return convolve_valid(points, kernel).clamp(min=0)
