"""Crops that stand for an image, read from its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ReadRows = Callable[[int, int], Tensor]
"""From the first row to the row after the last: ``(1, 3, rows, W)``."""


def crops_of(read: ReadRows, height: int, width: int, *, side: int, most: int) -> Tensor:
    """Cut crops that are spread evenly over an image, from top to bottom, as large images are read.

    Args:
        read: gives rows.
        height: of the image.
        width: of the image; one smaller than a crop is mirrored at its edges to the size of one.
        side: of the square crops, in pixels.
        most: the largest number of crops.

    Returns:
        ``(N, 3, side, side)``, 1 <= N <= `most`.
    """
    rows, columns = raster(height, width, side=side, most=most)
    bands = (_mirrored(read(y, min(y + side, height)), side) for y in _places(height, side, rows))
    places = _places(width, side, columns)
    return torch.cat([band[:, :, :, x : x + side] for band in bands for x in places])


def raster(height: int, width: int, *, side: int, most: int) -> tuple[int, int]:
    """Choose how many rows and columns of crops there are: about square, without overlap.

    >>> raster(512, 768, side=128, most=16), raster(100, 3000, side=128, most=16), raster(9, 9, side=128, most=16)
    ((3, 5), (1, 16), (1, 1))
    """
    rows = max(1, min(height // side, round((most * height / width) ** 0.5)))
    columns = max(1, min(width // side, most // rows))
    return max(1, min(height // side, most // columns)), columns


def _places(length: int, side: int, count: int) -> Sequence[int]:
    free = max(0, length - side)
    return [free // 2] if count == 1 else [round(index * free / (count - 1)) for index in range(count)]


def _mirrored(band: Tensor, side: int) -> Tensor:
    """Continue an image that is smaller than a crop by its mirror image, as often as it takes."""
    while min(band.shape[2:]) < side:
        more = [min(max(0, side - length), length) for length in band.shape[2:]]
        # Mirrored with the edge itself, so that one pixel has a mirror image too.
        band = torch.cat([band, band.flip(2)[:, :, : more[0]]], dim=2)
        band = torch.cat([band, band.flip(3)[:, :, :, : more[1]]], dim=3)
    return band
