"""Large images in tiles, blended where they overlap so that no seam shows.

Tiles that follow each other share at least ``overlap`` pixels. The outer quarters of what they share are context
only; over the half between them one tile is faded into the next:

    w(t) = (1 - cos(pi t)) / 2,   0 < t < 1,   and 1 - w(t) for the tile before

The weights of all tiles sum to one at every pixel. An operation that looks no further than a quarter of the overlap
gives what it gives on the whole image. Restoration networks look further (transposed attention takes statistics over
all that it sees): large tiles come nearer to the whole image's result. docs/tiling.md has when that is the better one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.model.maps import Gathered, Map, Values, WriteBand

Tile = int | Literal["auto"] | None

OnShare = Callable[[float], None]
"""Called after each tile with the share of the image that is done, to 1."""

ALIGNMENT = 16
"""Tiles start at multiples of this, so that a network that halves the size four times sees each pixel in the phase
that it would have in the whole image."""

OVERLAP = 64
OVERLAP_OF_SMALL = 32
"""Of tiles below `SMALLEST_TILE`: with 64, most of what they compute is overlap, for nothing (docs/tiling.md)."""

SMALLEST_TILE = 256
"""Tiles that memory asks for are never smaller, and it never asks for any of an image of so many pixels. Those that
suit an adapter may be smaller."""

ROWS_BUDGET = 512 * 1024**2
"""Bytes that a row of automatic tiles may take, across the whole image: its pixels and the sums of its tiles."""

ROWS_BYTES = 28
"""Of those for each pixel: what the file holds, and two times three channels of float32."""

WRITTEN_AT_ONCE = 16 * 1024**2
"""Bytes of rows that are finished and written at once, about."""


def padded_pixels(height: int, width: int) -> int:
    """Count the pixels that a network works on: it pads a shorter side to about `ALIGNMENT`.

    >>> padded_pixels(1, 200_000)
    3200000
    """
    return max(height, ALIGNMENT) * max(width, ALIGNMENT)


def automatic_tile(affordable: int, height: int, width: int) -> int | None:
    """Choose the side of tiles.

    Args:
        affordable: pixels that the network can work on at once (`adair_core.model.memory.affordable_pixels`).
        height: of the image.
        width: of the image.

    Returns:
        The largest side that is affordable, a multiple of `ALIGNMENT`, and of which a row across the image takes no
        more than `ROWS_BUDGET`; ``None``: the image can be restored whole, which then takes no more either.

    >>> automatic_tile(600_000, 700, 800), automatic_tile(600_000, 3000, 4000)
    (None, 768)
    """
    fits = height * width * ROWS_BYTES <= ROWS_BUDGET
    if padded_pixels(height, width) <= max(affordable if fits else 0, SMALLEST_TILE**2):
        return None
    side = math.isqrt(affordable)
    if min(side, height) * width * ROWS_BYTES > ROWS_BUDGET:
        side = ROWS_BUDGET // (ROWS_BYTES * width)
    return max(side - side % ALIGNMENT, SMALLEST_TILE)


def check_tile(tile: Tile) -> None:
    """Check what was asked for.

    Raises:
        UsageError: `tile` is neither ``"auto"``, ``None`` nor a positive number.
    """
    is_number = isinstance(tile, int) and not isinstance(tile, bool)
    if not (tile is None or tile == "auto" or (is_number and int(tile) >= 1)):
        raise UsageError(expected("tile", expected="'auto', None or a positive number of pixels", got=repr(tile)))


def resolve_overlap(overlap: int | None, tile: Tile) -> int:
    """Choose how much tiles overlap: 64 pixels; tiles below 256 pixels 32, or half of an even smaller one.

    Args:
        overlap: what was asked for; None = the default.
        tile: largest side of the tiles, ``"auto"`` (as small as `SMALLEST_TILE`; where they get smaller to suit an
            adapter, the overlap does so, too) or ``None``.

    Raises:
        UsageError: tile and overlap do not fit together, whether or not the image needs tiles.
    """
    check_tile(tile)
    side = SMALLEST_TILE if tile == "auto" else tile
    if overlap is None:
        if side is None:
            return OVERLAP
        return min(OVERLAP if side >= SMALLEST_TILE else OVERLAP_OF_SMALL, side // 2)
    if overlap < 0 or (side is not None and overlap > side // 2):
        of = "any size" if side is None else f"{side} or more" if tile == "auto" else side
        got = f"an overlap of {overlap} with tiles of {of}"
        raise UsageError(expected("tiles", expected="an overlap of 0 to half a tile", got=got))
    return overlap


def tiled(
    fn: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int = OVERLAP, *, on_share: OnShare | None = None
) -> Tensor:
    """Apply a function to overlapping tiles and blend the results.

    Args:
        fn: ``(B, C, h, w)`` to ``(B, D, h, w)``.
        x: ``(B, C, H, W)``.
        tile: largest side of a tile, in pixels; as many tiles as that takes are made, as small as they can be.
        overlap: pixels that neighbours share at least, at most half a tile.
        on_share: told after each tile.

    Returns:
        ``(B, D, H, W)``.

    Raises:
        UsageError: tile and overlap do not fit together, or `fn` changes the size.
    """
    made = Gathered(x.shape[-2])
    tiled_rows(fn, Values(x), made.write, tile, overlap, on_share=on_share)
    assert made.values is not None
    return made.values


def tiled_rows(
    fn: Callable[[Tensor], Tensor],
    image: Map,
    write: WriteBand,
    tile: int,
    overlap: int = OVERLAP,
    *,
    on_share: OnShare | None = None,
) -> None:
    """Do what `tiled` does for an image that is read and written by rows, of which one row of tiles is in memory.

    Args:
        fn: see `tiled`.
        image: is read from the first row to the last; rows that two tiles share are read twice.
        write: gets the rows that no further tile adds to.
        tile: see `tiled`.
        overlap: see `tiled`.
        on_share: told after each tile.

    Raises:
        UsageError: see `tiled`.
    """
    if tile < 1 or not 0 <= overlap <= tile // 2:
        got = f"tile {tile} and overlap {overlap}"
        raise UsageError(expected("tiles", expected="an overlap of 0 to half a tile", got=got))
    height, width = image.height, image.width
    if height <= tile and width <= tile:
        write(0, fn(image.read(0, height)))
        return
    down, across = _windows(height, tile, overlap), _windows(width, tile, overlap)
    before: Tensor | None = None
    for row, (top, rows) in enumerate(down):

        def told(column: int, row: int = row) -> None:
            if on_share is not None:
                on_share((row * len(across) + column + 1) / (len(down) * len(across)))

        sums = _row_of_tiles(fn, image.read(top, top + len(rows)), rows, across, before, told)
        done = (down[row + 1][0] if row + 1 < len(down) else height) - top
        step = max(1, WRITTEN_AT_ONCE // (sums[..., 0, :].numel() * sums.element_size()))
        for start in range(0, done, step):
            write(top + start, sums[..., start : min(start + step, done), :])
        before = sums[..., done:, :].clone()
        del sums  # before the next rows are read


def _row_of_tiles(
    fn: Callable[[Tensor], Tensor],
    band: Tensor,
    rows: Tensor,
    across: Sequence[tuple[int, Tensor]],
    before: Tensor | None,
    told: Callable[[int], None],
) -> Tensor:
    """Add up the tiles of a row.

    Args:
        fn: see `tiled`.
        band: the rows of the image, ``(B, C, h, W)``.
        rows: the tiles' weights down.
        across: start and weights across of each tile.
        before: what the row of tiles above has added to the rows that it shares with this one.
        told: after each tile.

    Returns:
        ``(B, D, h, W)``.
    """
    sums: Tensor | None = None
    for column, (left, columns) in enumerate(across):
        part = band[..., left : left + len(columns)]
        result = fn(part)
        if result.shape[-2:] != part.shape[-2:]:
            got = f"{tuple(part.shape[-2:])} -> {tuple(result.shape[-2:])}"
            raise UsageError(expected("tiled function", expected="the size unchanged", got=got))
        if sums is None:
            sums = result.new_zeros(*result.shape[:-1], band.shape[-1])
            if before is not None:
                sums[..., : before.shape[-2], :] = before
        sums[..., left : left + len(columns)] += (rows[:, None] * columns).to(result) * result
        told(column)
    assert sums is not None
    return sums


def _windows(length: int, tile: int, overlap: int) -> list[tuple[int, Tensor]]:
    """Cut one axis: the start of each tile and its weights, which have its length."""
    tile = _shortened(length, tile, overlap)
    starts = _starts(length, tile, overlap)
    ends = [min(start + tile, length) for start in starts]
    # No overlap at all is a hard edge.
    fade = max(overlap / 2, 1e-9)

    def share(positions: Tensor, first: int) -> Tensor:
        """Compute how much of each pixel belongs to the tiles from `first` on."""
        if first in (0, len(starts)):
            return torch.full_like(positions, float(first == 0))
        middle = (starts[first] + ends[first - 1]) / 2
        progress = ((positions - middle) / fade + 0.5).clamp(0, 1)
        return (1 - torch.cos(torch.pi * progress)) / 2

    windows = []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        positions = torch.arange(start, end, dtype=torch.float64) + 0.5
        windows.append((start, (share(positions, i) - share(positions, i + 1)).clamp(min=0)))
    return windows


def _shortened(length: int, tile: int, overlap: int) -> int:
    """Find the smallest tile of which one axis takes no more than of the one given.

    A side just above `tile` is then cut in halves, not in two tiles that are nearly as long as itself.
    """
    if length <= tile:
        return length
    align = ALIGNMENT if tile - overlap >= ALIGNMENT else 1
    count = len(_starts(length, tile, overlap))
    shared = overlap + -overlap % align
    shortest = -(-(length + (count - 1) * shared) // count)
    return min(tile, shortest + -shortest % align)


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Spread the tiles evenly over one axis, each at a multiple of the alignment."""
    if length <= tile:
        return [0]
    step = tile - overlap
    align = ALIGNMENT if step >= ALIGNMENT else 1
    step -= step % align
    count = 1 + -(-(length - tile) // step)
    # Rounded up: the steps stay multiples of the alignment and no larger than `step`; the last tile may be shorter.
    return [-(-i * (length - tile) // ((count - 1) * align)) * align for i in range(count)]
