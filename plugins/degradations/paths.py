"""Curves over the picture: the path of a shaken camera, a scratch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HARMONICS = 4
SAMPLES_PER_PIXEL = 4


def draw_wander(generator: torch.Generator) -> Tensor:
    """Draw the amplitudes of a path's wandering: ``(4,)`` float64, normal with standard deviation 1/2."""
    return torch.randn(HARMONICS, generator=generator, dtype=torch.float64) / 2


def wandering_path(length: float, angle: float, shake: float, wander: Tensor) -> Tensor:
    """Follow a path whose direction wanders, at constant speed.

    Equation::

        p'(t) = length (cos a(t), sin a(t)),    a(t) = angle + shake (pi / 2) sum_k n_k cos(k pi t) / k

    Args:
        length: of the path, in pixels.
        angle: mean direction in degrees, anticlockwise from horizontal.
        shake: scale of the wandering, in [0, 1]; 0 = a straight line.
        wander: ``(K,)`` float64, the amplitudes n_k.

    Returns:
        ``(N, 2)`` float64, positions (row, column) about their mean, equally spaced along the path.
    """
    count = max(1, math.ceil(length * SAMPLES_PER_PIXEL))
    time = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    order = torch.arange(1, len(wander) + 1, dtype=torch.float64)
    # Summed term by term: a product of matrices may round differently from one call to another.
    stray = (torch.cos(math.pi * time * order[:, None]) * (wander / order)[:, None]).sum(0)
    direction = math.radians(angle) + shake * math.pi / 2 * stray
    steps = torch.stack([-torch.sin(direction), torch.cos(direction)]) * (length / count)
    path = steps.cumsum(1)
    return (path - path.mean(1, keepdim=True)).T


def splat(positions: Tensor, height: int, width: int) -> Tensor:
    """Spread points over their four nearest pixels, bilinearly; what falls outside is dropped.

    Args:
        positions: ``(N, 2)`` float64, (row, column), whole numbers at the centres of pixels.
        height: of the picture.
        width: of the picture.

    Returns:
        ``(height, width)`` float64, sum N if all points are inside.
    """
    corner = positions.floor()
    fraction = positions - corner
    # (N, 2): the nearer row above and below, and the same for columns.
    rows, columns = (torch.stack([corner[:, axis], corner[:, axis] + 1], 1) for axis in (0, 1))
    row_weights, column_weights = (torch.stack([1 - fraction[:, axis], fraction[:, axis]], 1) for axis in (0, 1))
    row_weights = row_weights * ((rows >= 0) & (rows < height))
    column_weights = column_weights * ((columns >= 0) & (columns < width))
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    weight = row_weights[:, :, None] * column_weights[:, None, :]
    picture = torch.zeros(height * width, dtype=torch.float64)
    return picture.index_add_(0, index.long().flatten(), weight.flatten()).view(height, width)
