"""Areas of one exact colour, which photos hardly have and people's images do: borders, captions, drawings, masks.

A network that has seen photos with noise everywhere does not know pixels without any, and norms over channels
enlarge what little there is of a dark one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adair_core.degradation import uniform, uniform_integer

WHITE = 255
DARK = 10
"""Of 255: the colours near black, and as far from white those near white."""


@dataclass(frozen=True)
class FlatArea:
    """A rectangle of a patch and its colour.

    Attributes:
        top: first row.
        bottom: row after the last one.
        left: first column.
        right: column after the last one.
        colour: ``(3, 1, 1)``, in [0, 1], whole steps of 1/255.
        damaged: whether it lies on the clean patch before that is degraded; else, and on pairs, on both images.
    """

    top: int
    bottom: int
    left: int
    right: int
    colour: Tensor
    damaged: bool

    @classmethod
    def draw(cls, size: int, generator: torch.Generator) -> FlatArea:
        """Draw one for a patch of `size` x `size` pixels; it may be a border, or the whole patch, and is never empty.

        Its sides are uniform where a side beyond the patch's edge counts as that edge. A third of the colours each is a
        grey near black, a grey near white, and any colour.
        """
        top, bottom = _span(size, generator)
        left, right = _span(size, generator)
        kind = uniform_integer(0, 2, generator)
        if kind == 2:
            steps = [uniform_integer(0, WHITE, generator) for _ in range(3)]
        else:
            dark = uniform_integer(0, DARK, generator)
            steps = [dark if kind == 0 else WHITE - dark] * 3
        colour = (torch.tensor(steps, dtype=torch.float64) / WHITE).float().view(3, 1, 1)
        return cls(top, bottom, left, right, colour, damaged=uniform((0, 1), generator) < 0.5)

    def laid_on(self, image: Tensor) -> Tensor:
        """Return the image ``(3, P, P)`` with the area on it."""
        covered = image.clone()
        covered[:, self.top : self.bottom, self.left : self.right] = self.colour
        return covered


def _span(size: int, generator: torch.Generator) -> tuple[int, int]:
    """Draw two sides in [-size / 2, 3 size / 2], and cut what lies between to the patch."""
    while True:
        low, high = sorted(uniform_integer(-(size // 2), size + size // 2, generator) for _ in range(2))
        first, end = max(low, 0), min(high, size)
        if first < end:
            return first, end
