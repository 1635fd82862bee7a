"""What some degradations do to a share of the images alone: store them in 8 bits, for one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.data.pixels import quantized
from adair_core.degradation import Draws, uniform
from adair_plugins.degradations.photons import draw_seed

STORED = "share of the images that are clipped and rounded to 8 bits, as most files hold them"
"""Description of the option of degradations that can store their result."""


def beside(generator: torch.Generator, purpose: str) -> torch.Generator:
    """Make a generator that depends on another one's state, but takes nothing from it: its draws stay as they are."""
    ahead = torch.Generator()
    ahead.set_state(generator.get_state())
    return torch.Generator().manual_seed(draw_seed(ahead) ^ zlib.crc32(purpose.encode()))


def draw_share(share: float, generator: torch.Generator, purpose: str) -> bool:
    """Draw whether an image is among this share, `beside` the generator."""
    return share > 0 and uniform((0.0, 1.0), beside(generator, purpose)) < share


def stored(images: Tensor, draws: Sequence[Draws]) -> Tensor:
    """Clip and round those of ``(B, C, H, W)`` images to multiples of 1/255 whose draws say ``stored``."""
    those = [draw["stored"] for draw in draws]
    if not any(those):
        return images
    which = torch.tensor(those, device=images.device).view(-1, 1, 1, 1)
    return torch.where(which, quantized(images), images)
