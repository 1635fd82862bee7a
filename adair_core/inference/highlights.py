"""Float images: which value is white, and what lies far above it.

Networks are trained on values from 0 to 1, and unclipped noise around them. An image of scene light has highlights far
above white, at which a network's answer would be arbitrary. So the network sees them cut off, and its correction is
added to what they were:

    c = clip(x, -1, 2);   out = x + (network(c) - c)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adair_core.errors import DataError, UsageError, expected

LOWEST, HIGHEST = -1.0, 2.0
"""Beyond them a value is no noise around black or white: sigma 50 of 255, five times, is 0.98."""


def check_white(white: float, *, name: str = "white") -> None:
    """Check the value of white in float images.

    Args:
        white: the value.
        name: of the option, for the message.

    Raises:
        UsageError: it is no positive number.
    """
    if not math.isfinite(white) or white <= 0:
        raise UsageError(expected(name, expected="a positive number", got=white))


def check_range(path: Path | None, bands: Iterable[npt.NDArray[Any]], white: float) -> tuple[str, ...]:
    """Check that a float image is in the range that `white` says.

    Args:
        path: of the image; None = whoever catches the error says which it was.
        bands: all values as stored, in bands of rows.
        white: the value of white.

    Returns:
        What people should know.

    Raises:
        DataError: it holds NaN or infinity, or most of it is far brighter than white.
    """
    count, bright, top = 0, 0, -np.inf
    where = "" if path is None else f"{path}: "
    for values in bands:
        if not np.isfinite(values).all():
            raise DataError(f"{where}holds NaN or infinite values; replace them before restoring")
        count += values.size
        bright += int(np.count_nonzero(values > HIGHEST * white))
        top = max(top, float(values.max()))
    above = bright / count
    if above > 0.5:
        likely = next((scale for scale in (255, 65535) if HIGHEST < top <= scale), None)
        hint = f"--white {likely}" if likely else f"--white N (the image's largest value is {top:g})"
        raise DataError(
            f"{where}{above:.0%} of the float values are above {HIGHEST * white:g}, where {white:g} is taken for "
            f"white; give {hint}"
        )
    if above == 0:
        return ()
    return (f"{max(above, 0.0001):.2%} of the values are highlights above {HIGHEST * white:g} and kept",)


def without_highlights(image: Tensor) -> Tensor:
    """Cut off what lies above; white is 1."""
    return image.clamp(LOWEST, HIGHEST)


def with_highlights(restored: Tensor, image: Tensor) -> Tensor:
    """Put the highlights on again.

    Args:
        restored: of the image without them.
        image: with them.
    """
    cut = without_highlights(image)
    return torch.where(image == cut, restored, image + (restored - cut))
