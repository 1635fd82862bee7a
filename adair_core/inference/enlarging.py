"""Bicubic enlargement: the input of super-resolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

REACH = 4
"""Pixels beyond the border that the 4 x 4 cubic kernel may reach, and more than enough."""


def enlarged(image: Tensor, scale: int) -> Tensor:
    """Enlarge as MATLAB's ``imresize(image, scale, 'bicubic')``, which super-resolution networks are trained on.

    Args:
        image: ``(B, C, H, W)``, float.
        scale: how many times larger, >= 1.

    Returns:
        ``(B, C, scale H, scale W)``, not clipped: the cubic kernel overshoots at edges.
    """
    if scale == 1:
        return image
    height = image.shape[-2]
    return enlarged_rows(lambda top, bottom: image[..., top:bottom, :], height, scale, 0, scale * height)


def enlarged_rows(read: Callable[[int, int], Tensor], height: int, scale: int, top: int, bottom: int) -> Tensor:
    """Compute some rows of an enlarged image; see `enlarged`.

    Args:
        read: gives rows [first, last) of the image, ``(B, C, last - first, W)``.
        height: of the image.
        scale: how many times larger, >= 1.
        top: first row of the enlarged image.
        bottom: row after the last one.

    Returns:
        ``(B, C, bottom - top, scale W)``.
    """
    if scale == 1:
        return read(top, bottom)
    first, mirrored = _rows_for(height, scale, top, bottom)
    start = min(mirrored)
    rows = read(start, max(mirrored) + 1)
    rows = rows[..., torch.tensor([row - start for row in mirrored], device=rows.device), :]
    # With antialias, torch takes the cubic kernel with a = -1/2 that MATLAB takes; numpy's "symmetric" is the mirror
    # that none of torch's padding modes is.
    padded = torch.from_numpy(np.pad(rows.cpu().numpy(), [(0, 0)] * 3 + [(REACH, REACH)], mode="symmetric"))
    large = functional.interpolate(padded.to(rows.device), scale_factor=float(scale), mode="bicubic", antialias=True)
    border = scale * REACH
    skipped = top - scale * first
    return large[..., skipped : skipped + bottom - top, border:-border]


def source_rows(height: int, scale: int, top: int, bottom: int) -> tuple[int, int]:
    """Tell which rows [first, last) of an image its enlarged rows are computed from; see `enlarged_rows`."""
    if scale == 1:
        return top, bottom
    _, mirrored = _rows_for(height, scale, top, bottom)
    return min(mirrored), max(mirrored) + 1


def _rows_for(height: int, scale: int, top: int, bottom: int) -> tuple[int, list[int]]:
    """The first row that the kernel reaches, perhaps above the image, and where it and those below it are."""
    first, last = top // scale - REACH, -(-bottom // scale) + REACH
    # At the border MATLAB mirrors the image including its outermost pixels.
    folded = [row % (2 * height) for row in range(first, last)]
    return first, [row if row < height else 2 * height - 1 - row for row in folded]
