"""Smooth random fields."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WAVES = 6


def smooth_field(height: int, width: int, generator: torch.Generator, *, cycles: float = 1.5) -> Tensor:
    """Draw a smooth random field: a sum of plane waves of low frequency.

    Equation::

        g(v, u) = sqrt(2 / K) sum_k cos(2 pi (f_k v + h_k u) + phi_k),    f, h ~ U(-cycles, cycles), phi ~ U(0, 2 pi)

    with v, u in (0, 1) over the height and the width, K = 6. Mean 0 and variance 1 over all draws.

    Args:
        height: in pixels.
        width: in pixels.
        generator: source of the waves.
        cycles: most waves over the picture.

    Returns:
        ``(height, width)`` float64.
    """
    vertical, horizontal, phase = torch.rand(3, WAVES, 1, 1, generator=generator, dtype=torch.float64)
    v = (torch.arange(height, dtype=torch.float64)[:, None] + 0.5) / height
    u = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    a = 2 * math.pi * (cycles * (2 * vertical - 1) * v + phase)
    b = 2 * math.pi * cycles * (2 * horizontal - 1) * u
    # cos(a + b) separated into rows and columns: the trigonometry is linear in the sides.
    waves = a.cos() * b.cos() - a.sin() * b.sin()
    return waves.sum(0) * math.sqrt(2 / WAVES)
