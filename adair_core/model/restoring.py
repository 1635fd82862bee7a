"""Restoring an image of any kind with a function on tensors."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from adair_core.data.pixels import Array, from_batch, to_batch, to_unit
from adair_core.data.transparency import fill_invisible, is_visible
from adair_core.errors import AdairError, UsageError, expected, is_out_of_memory
from adair_core.model.exact import WORKING, restore_exactly
from adair_core.model.maps import Store
from adair_core.model.memory import BUDGET, affordable_pixels
from adair_core.model.tiling import (
    ALIGNMENT,
    OVERLAP,
    SMALLEST_TILE,
    OnShare,
    Tile,
    automatic_tile,
    padded_pixels,
    resolve_overlap,
    tiled,
)

ImageT = TypeVar("ImageT", Tensor, Array)

Precision = Literal["float32", "bfloat16", "float16"]
"""Of the network's convolutions and products. The two short ones are mixed precision (autocast): weights, statistics
and the image stay float32."""

LAST_RESORT = 2 * OVERLAP
"""Side of the smallest tiles that are tried when memory runs out."""

REPLAYED_PIXELS = 512 * 512
"""Of all images that are computed at once, at most, where CUDA graphs are used. Larger ones keep a GPU busy for longer
than the host needs to launch kernels (an estimate from their numbers, which no GPU has confirmed yet), and graphs of
them would keep much memory."""


class SmallerTilesWarning(UserWarning):
    """Memory ran out, so an image was restored in smaller tiles than it would have been."""


def check_precision(precision: str | None) -> None:
    """Check what was asked for.

    Raises:
        UsageError: there is no such precision.
    """
    if precision is not None and precision not in get_args(Precision):
        wanted = ", ".join(get_args(Precision))
        raise UsageError(expected("precision", expected=f"one of {wanted}", got=repr(precision)))


def check_exact(tile: Tile, precision: str | None) -> None:
    """Check that the whole image's result can be what was asked for.

    Raises:
        UsageError: there is something else, too.
    """
    if isinstance(tile, int) or precision not in (None, "float32"):
        got = f"tile {tile!r} and precision {precision!r}"
        raise UsageError(expected("exact", expected="neither tiles nor another precision than float32", got=got))


def restore_image(
    network: Callable[[Tensor], Tensor],
    image: ImageT,
    *,
    strength: float,
    tile: Tile,
    overlap: int | None,
    device: torch.device,
    dtype: torch.dtype,
    precision: Precision | None = None,
    exact: bool = False,
    replay: Callable[[Tensor], Tensor] | None = None,
    on_share: OnShare | None = None,
) -> ImageT:
    """Restore an image, and give back the same kind of image.

    out = in + strength * (network(in) - in)

    The network's device holds one tile at a time. Where memory runs out, the image is tried again in tiles of half the
    side, down to `LAST_RESORT`, with a `SmallerTilesWarning`.

    Alpha is no colour and comes back as it was. Pixels that are not visible do not reach the network, which sees the
    colours around them instead (`adair_core.data.transparency`), and keep the colour that they have.

    Args:
        network: ``(B, 3, h, w)`` to ``(B, 3, h, w)``.
        image: see `adair_core.data.pixels.to_batch`.
        strength: 0 returns a copy of the image without running the network.
        tile: largest side of the tiles, ``None`` = whole, ``"auto"`` = what `adair_core.model.memory.BUDGET` allows.
        overlap: see `adair_core.model.tiling.resolve_overlap`.
        device: where the network is.
        dtype: that the network takes.
        precision: of the network; ``None`` = that of its weights.
        exact: compute the whole image's result band by band, see `adair_core.model.exact`.
        replay: gives what `network` gives, faster where batches of one shape come again and again; used for those of at
            most `REPLAYED_PIXELS`.
        on_share: told after each tile, if it takes several.

    Raises:
        DataError: the image is of a kind or shape that cannot be restored.
        UsageError: strength, tile or overlap are out of range.
        AdairError: the network's output is not finite.
    """
    if not math.isfinite(strength) or strength < 0:
        raise UsageError(expected("strength", expected="0 (the input) to 1 (restored), or more", got=strength))
    batch, layout = to_batch(image)
    height, width = batch.shape[-2:]
    shared = resolve_overlap(overlap, tile)
    if strength == 0:
        return image.copy() if isinstance(image, np.ndarray) else image.clone()

    check_precision(precision)
    if exact:
        check_exact(tile, precision)
    seen, visible = batch, None
    if layout.alpha is not None:
        visible = is_visible(to_unit(layout.alpha))
        seen = fill_invisible(batch, visible)

    def run(part: Tensor, compute: Callable[[Tensor], Tensor] = network) -> Tensor:
        # Tiles of a half precision network are blended in float32.
        with _computing(precision, device):
            return compute(part.to(device, dtype)).to(part)

    def run_or_replay(part: Tensor) -> Tensor:
        small = len(part) * padded_pixels(*part.shape[-2:]) <= REPLAYED_PIXELS
        return run(part, replay if replay is not None and small else network)

    if exact:
        restored = torch.cat([_exactly(network, part, device, dtype) for part in torch.split(seen, 1)])
    else:
        side, at_once = None if tile == "auto" else tile, len(batch)
        if tile == "auto" and len(batch) * padded_pixels(height, width) > SMALLEST_TILE**2:
            affordable = affordable_pixels(run, batch)
            side = automatic_tile(affordable, height, width)
            at_once = max(1, affordable // padded_pixels(height, width))
        restored = _as_memory_allows(run_or_replay, seen, at_once, side, shared, device, on_share)
    if not bool(torch.isfinite(restored).all()):
        # Integers cannot hold NaN: the image would come out black in silence.
        hint = "the weights are broken, or the precision overflows: try float32"
        raise AdairError(expected("restored image", expected="finite values", got="NaN or infinity", hint=hint))
    if visible is not None:
        restored = torch.where(visible, restored, batch)
    if strength != 1:
        restored = torch.lerp(batch, restored, strength)
    result = from_batch(restored, layout)
    assert isinstance(result, type(image))
    return result


def _exactly(network: Callable[[Tensor], Tensor], image: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    store = Store(BUDGET - WORKING, WORKING)
    return restore_exactly(network, image, store=store, device=device, dtype=dtype).to(image)


def _as_memory_allows(
    run: Callable[[Tensor], Tensor],
    batch: Tensor,
    at_once: int,
    side: int | None,
    shared: int,
    device: torch.device,
    on_share: OnShare | None,
) -> Tensor:
    """Restore `at_once` images at a time, in tiles if there is a `side`; if memory runs out, fewer and smaller ones."""
    while True:
        try:
            return torch.cat(
                [
                    run(part) if side is None else tiled(run, part, side, shared, on_share=on_share)
                    for part in torch.split(batch, at_once)
                ]
            )
        except (MemoryError, RuntimeError) as error:
            smaller = _half(side or max(batch.shape[-2:]))
            if not is_out_of_memory(error) or (at_once == 1 and smaller is None):
                raise
        # Not in the except clause, whose exception holds the tensors of the pass that failed.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if at_once > 1:
            at_once = 1  # the same result
            continue
        warnings.warn(f"memory ran out; trying again in tiles of {smaller} pixels", SmallerTilesWarning, stacklevel=4)
        side, shared = smaller, min(shared, OVERLAP)


def _half(side: int) -> int | None:
    """Half as large a tile; ``None`` where none is left to try."""
    if side <= LAST_RESORT:
        return None
    return max(side // 2 - side // 2 % ALIGNMENT, LAST_RESORT)


def _computing(precision: Precision | None, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if precision in (None, "float32"):
        return contextlib.nullcontext()
    return torch.autocast(device.type, getattr(torch, str(precision)))
