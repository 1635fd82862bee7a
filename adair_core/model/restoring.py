"""Restoring an image of any kind with a function on tensors."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from adair_core.data.pixels import Array, from_batch, to_batch, to_unit
from adair_core.data.transparency import fill_invisible, is_visible
from adair_core.errors import AdairError, UsageError, expected
from adair_core.model.exact import WORKING, restore_exactly
from adair_core.model.maps import Gathered, Map, Store, Values, WriteBand
from adair_core.model.memory import BUDGET, CountPixels, affordable_pixels
from adair_core.model.self_ensemble import self_ensemble
from adair_core.model.smaller_tiles import WithinMemory
from adair_core.model.tiling import (
    SMALLEST_TILE,
    WRITTEN_AT_ONCE,
    OnShare,
    Tile,
    automatic_tile,
    padded_pixels,
    resolve_overlap,
    tiled_rows,
)

ImageT = TypeVar("ImageT", Tensor, Array)

Precision = Literal["float32", "bfloat16", "float16"]
"""Of the network's convolutions and products. The two short ones are mixed precision (autocast): weights, statistics
and the image stay float32."""

REPLAYED_PIXELS = 512 * 512
"""Of all images that are computed at once, at most, where CUDA graphs are used. Larger ones keep a GPU busy for longer
than the host needs to launch kernels (an estimate from their numbers, which no GPU has confirmed yet), and graphs of
them would keep much memory."""


def check_precision(precision: str | None) -> None:
    """Check what was asked for.

    Raises:
        UsageError: there is no such precision.
    """
    if precision is not None and precision not in get_args(Precision):
        wanted = ", ".join(get_args(Precision))
        raise UsageError(expected("precision", expected=f"one of {wanted}", got=repr(precision)))


def check_exact(tile: Tile, precision: str | None, *, ensemble: bool = False) -> None:
    """Check that the whole image's result can be what was asked for.

    Raises:
        UsageError: there is something else, too.
    """
    if isinstance(tile, int) or precision not in (None, "float32"):
        got = f"tile {tile!r} and precision {precision!r}"
        raise UsageError(expected("exact", expected="neither tiles nor another precision than float32", got=got))
    if ensemble:
        hint = "leave one of them out"
        raise UsageError(expected("exact", expected="no self-ensemble, which works in tiles", got="both", hint=hint))


def check_strength(strength: float) -> None:
    """Check what was asked for.

    Raises:
        UsageError: it is negative or not a number.
    """
    if not math.isfinite(strength) or strength < 0:
        raise UsageError(expected("strength", expected="0 (the input) to 1 (restored), or more", got=strength))


def restore_image(
    network: Callable[[Tensor], Tensor],
    image: ImageT,
    *,
    strength: float,
    tile: Tile,
    overlap: int | None,
    device: torch.device,
    dtype: torch.dtype,
    suited: int | None = None,
    precision: Precision | None = None,
    exact: bool = False,
    ensemble: bool = False,
    replay: Callable[[Tensor], Tensor] | None = None,
    affordable: CountPixels = affordable_pixels,
    on_share: OnShare | None = None,
) -> ImageT:
    """Restore an image, and give back the same kind of image.

    See `restore_rows`, which does it.

    Args:
        network: ``(B, 3, h, w)`` to ``(B, 3, h, w)``.
        image: see `adair_core.data.pixels.to_batch`.
        strength: 0 returns a copy of the image without running the network.
        tile: largest side of the tiles, ``None`` = whole, ``"auto"`` = `suited`, or less where
            `adair_core.model.memory.BUDGET` does not allow it.
        overlap: see `adair_core.model.tiling.resolve_overlap`.
        device: where the network is.
        dtype: that the network takes.
        suited: side of the tiles in which the network restores best; ``None`` = the whole image.
        precision: of the network; ``None`` = that of its weights.
        exact: compute the whole image's result band by band, see `adair_core.model.exact`.
        ensemble: average over the image's orientations, or over those of each tile, see
            `adair_core.model.self_ensemble`.
        replay: gives what `network` gives, faster where batches of one shape come again and again; used for those of at
            most `REPLAYED_PIXELS`.
        affordable: counts the pixels of ``"auto"``: `adair_core.model.memory.affordable_pixels`, or what that has said.
        on_share: told after each tile, if it takes several.

    Raises:
        DataError: the image is of a kind or shape that cannot be restored.
        UsageError: strength, tile or overlap are out of range.
        AdairError: the network's output is not finite.
    """
    check_strength(strength)
    batch, layout = to_batch(image)
    if strength == 0:
        resolve_overlap(overlap, tile)
        return image.copy() if isinstance(image, np.ndarray) else image.clone()
    if layout.alpha is not None:
        batch = torch.cat([batch, to_unit(layout.alpha).to(batch)], dim=1)
    results = []
    for part in torch.split(batch, 1 if exact else len(batch)):
        made = Gathered(batch.shape[-2])
        restore_rows(
            network,
            Values(part),
            made.write,
            strength=strength,
            tile=tile,
            overlap=overlap,
            device=device,
            dtype=dtype,
            suited=suited,
            precision=precision,
            exact=exact,
            ensemble=ensemble,
            replay=replay,
            affordable=affordable,
            on_share=on_share,
        )
        assert made.values is not None
        results.append(made.values.to(batch))
    result = from_batch(torch.cat(results) if len(results) > 1 else results[0], layout)
    assert isinstance(result, type(image))
    return result


def restore_rows(
    network: Callable[[Tensor], Tensor],
    image: Map,
    write: WriteBand,
    *,
    strength: float,
    tile: Tile,
    overlap: int | None,
    device: torch.device,
    dtype: torch.dtype,
    suited: int | None = None,
    precision: Precision | None = None,
    exact: bool = False,
    ensemble: bool = False,
    replay: Callable[[Tensor], Tensor] | None = None,
    affordable: CountPixels = affordable_pixels,
    on_share: OnShare | None = None,
) -> None:
    """Restore an image that is read and written by rows.

    out = in + strength * (network(in) - in)

    In tiles, one row of them is in memory, and one tile on the network's device. Where memory runs out, a tile is tried
    again in tiles of half its side, and so are those after it, see `adair_core.model.smaller_tiles`.

    Pixels that are not visible do not reach the network, which sees the colours around them instead
    (`adair_core.data.transparency`; those in the same tile), and keep the colour that they have.

    Args:
        network: ``(B, 3, h, w)`` to ``(B, 3, h, w)``.
        image: three channels, and a fourth if it has alpha; ``(B, 3 or 4, rows, W)`` float, alpha in [0, 1]. It is read
            from the first row to the last, and again where `exact` needs it.
        write: gets the restored colours, ``(B, 3, rows, W)``.
        strength: at 0 the network does not run.
        tile: see `restore_image`.
        overlap: see `restore_image`.
        device: see `restore_image`.
        dtype: see `restore_image`.
        suited: see `restore_image`.
        precision: see `restore_image`.
        exact: see `restore_image`; B is 1. With alpha, the image is in memory as a whole.
        ensemble: see `restore_image`; not with `exact`.
        replay: see `restore_image`.
        affordable: see `restore_image`.
        on_share: see `restore_image`.

    Raises:
        UsageError: strength, tile or overlap are out of range.
        AdairError: the network's output is not finite.
    """
    check_strength(strength)
    check_precision(precision)
    shared = resolve_overlap(overlap, tile)
    if exact:
        check_exact(tile, precision, ensemble=ensemble)
    if ensemble:
        network, replay = self_ensemble(network), None if replay is None else self_ensemble(replay)
    has_alpha = image.channels == 4

    def finish(top: int, restored: Tensor) -> None:
        if not bool(torch.isfinite(restored).all()):
            # Integers cannot hold NaN: the image would come out black in silence.
            hint = "the weights are broken, or the precision overflows: try float32"
            raise AdairError(expected("restored image", expected="finite values", got="NaN or infinity", hint=hint))
        if has_alpha or strength != 1:
            given = image.read(top, top + restored.shape[2])
            restored = restored.to(given)
            if has_alpha:
                restored = torch.where(is_visible(given[:, 3:]), restored, given[:, :3])
            if strength != 1:
                restored = torch.lerp(given[:, :3], restored, strength)
        write(top, restored)

    def compute(colors: Tensor, by: Callable[[Tensor], Tensor] = network) -> Tensor:
        # Tiles of a half precision network are blended in float32.
        with _computing(precision, device):
            return by(colors.to(device, dtype)).to(colors)

    def run(part: Tensor) -> Tensor:
        colors = fill_invisible(part[:, :3], is_visible(part[:, 3:])) if has_alpha else part
        small = len(part) * padded_pixels(*part.shape[-2:]) <= REPLAYED_PIXELS
        return compute(colors, replay if replay is not None and small else network)

    if strength == 0:
        for top, bottom in _bands(image):
            write(top, image.read(top, bottom)[:, :3])
    elif exact:
        restored = _exactly(network, image, device, dtype)
        for top, bottom in _bands(image):
            finish(top, restored.read(top, bottom).to(torch.float32))
    else:
        first = image.read(0, 1)[:, :3]
        side, at_once = suited if tile == "auto" else tile, len(first)
        pass_of = padded_pixels(min(image.height, side or image.height), min(image.width, side or image.width))
        if tile == "auto" and len(first) * pass_of > SMALLEST_TILE**2:
            pixels = affordable(compute, first)
            allowed = automatic_tile(pixels, image.height, image.width)
            side = min((each for each in (suited, allowed) if each is not None), default=None)
            at_once = max(1, pixels // pass_of)  # 1 where what is allowed is smaller than what would suit
        if tile == "auto" and side is not None:
            shared = resolve_overlap(None if overlap is None else min(overlap, side // 2), side)
        within = WithinMemory(run, at_once=at_once, side=side, overlap=shared, device=device)
        if side is None:
            finish(0, within(image.read(0, image.height)))
        else:
            tiled_rows(within, image, finish, side, shared, on_share=on_share)


def _bands(image: Map) -> list[tuple[int, int]]:
    """Cut an image into bands of rows that are not large."""
    step = max(1, WRITTEN_AT_ONCE // (image.width * 3 * 4))
    return [(top, min(top + step, image.height)) for top in range(0, image.height, step)]


def _exactly(network: Callable[[Tensor], Tensor], image: Map, device: torch.device, dtype: torch.dtype) -> Map:
    if image.channels == 4:
        # What is continued into invisible pixels depends on all that is visible.
        whole = image.read(0, image.height)
        image = Values(fill_invisible(whole[:, :3], is_visible(whole[:, 3:])))
    store = Store(BUDGET - WORKING, WORKING)
    return restore_exactly(network, image, store=store, device=device, dtype=dtype)


def _computing(precision: Precision | None, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if precision in (None, "float32"):
        return contextlib.nullcontext()
    return torch.autocast(device.type, getattr(torch, str(precision)))
