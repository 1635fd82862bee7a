"""Light as a number of photons: the part that all sensor noise shares."""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.degradation import uniform


def log_uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    """Draw from [low, high], 0 < low, so that every doubling is equally likely; always uses one draw."""
    low, high = bounds
    return float(low * (high / low) ** uniform((0.0, 1.0), generator))


def draw_seed(generator: torch.Generator) -> int:
    """Draw the seed of a generator for what cannot be drawn before the image is known."""
    return int(torch.randint(2**62, (), generator=generator).item())


def shot_noise(signal: Tensor, photons: float, seed: int) -> Tensor:
    """Count photons: ``Poisson(photons * signal) / photons``.

    Args:
        signal: any shape, float, linear in light; below 0 counts as 0.
        photons: mean count where the signal is 1.
        seed: of the counts.

    Returns:
        Shape, dtype and device of `signal`; mean `signal`, variance ``signal / photons``.
    """
    generator = torch.Generator().manual_seed(seed)
    # Always counted on the CPU in float64, so that the device and the dtype do not change the picture.
    mean = signal.detach().to("cpu", torch.float64, copy=True, memory_format=torch.contiguous_format)
    counts = torch.poisson(mean.clamp_(min=0).mul_(photons), generator=generator)
    return counts.div_(photons).to(signal)
