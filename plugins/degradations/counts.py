"""How many: ranges of whole numbers."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator

from adair_core.degradation import Range, uniform_integer


def _whole(bounds: tuple[float, float]) -> tuple[float, float]:
    if not all(float(end).is_integer() for end in bounds):
        raise ValueError(f"expected whole numbers, got {bounds[0]:g},{bounds[1]:g}")
    return bounds


Count = Annotated[Range, AfterValidator(_whole)]
"""A number of things drawn from low, low + 1, ..., high. Written ``3`` or ``1,3``."""


def draw_count(bounds: tuple[float, float], generator: torch.Generator) -> int:
    """Draw how many; always uses one draw."""
    return uniform_integer(int(bounds[0]), int(bounds[1]), generator)
