"""Self-ensemble: the mean of what a network makes of an image in its eight orientations.

A network that has learned from photos in every orientation restores each of them as well, and errs elsewhere in each.

Source: Timofte, Rothe, Van Gool, *Seven ways to improve example-based single image super resolution*, 2016 (enhanced
prediction); the name is from section 3.4 of Lim et al., *Enhanced Deep Residual Networks for Single Image
Super-Resolution*, 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

ORIENTATIONS = tuple(product((False, True), repeat=3))
"""Whether rows are reversed, whether columns are, and whether they are exchanged afterwards."""


def self_ensemble(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make a network that restores an image in its eight orientations, one after the other, and averages.

    Args:
        network: ``(B, C, H, W)`` to ``(B, C, H, W)``.

    Returns:
        The same, in at least float32.
    """

    def restored(image: Tensor) -> Tensor:
        total: Tensor | None = None
        for orientation in ORIENTATIONS:
            result = back(network(turned(image, *orientation)), *orientation)
            result = result.to(torch.promote_types(result.dtype, torch.float32))
            total = result if total is None else total + result
        assert total is not None
        return total / len(ORIENTATIONS)

    return restored


def turned(image: Tensor, rows: bool, columns: bool, exchanged: bool) -> Tensor:
    """Give an image ``(B, C, H, W)`` one of its `ORIENTATIONS`; with `exchanged` it is ``(B, C, W, H)``."""
    image = image.flip([axis for axis, reversed_ in ((-2, rows), (-1, columns)) if reversed_])
    return image.transpose(-2, -1).contiguous() if exchanged else image


def back(image: Tensor, rows: bool, columns: bool, exchanged: bool) -> Tensor:
    """Undo `turned`."""
    return turned(image.transpose(-2, -1) if exchanged else image, rows, columns, exchanged=False)
