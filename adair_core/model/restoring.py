"""Restoring an image of any kind with a function on tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from adair_core.data.pixels import Array, from_batch, to_batch, to_unit
from adair_core.data.transparency import fill_invisible, is_visible
from adair_core.errors import AdairError, UsageError, expected
from adair_core.model.memory import affordable_pixels
from adair_core.model.tiling import SMALLEST_TILE, OnShare, Tile, automatic_tile, padded_pixels, resolve_overlap, tiled

ImageT = TypeVar("ImageT", Tensor, Array)


def restore_image(
    network: Callable[[Tensor], Tensor],
    image: ImageT,
    *,
    strength: float,
    tile: Tile,
    overlap: int | None,
    device: torch.device,
    dtype: torch.dtype,
    on_share: OnShare | None = None,
) -> ImageT:
    """Restore an image, and give back the same kind of image.

    out = in + strength * (network(in) - in)

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

    seen, visible = batch, None
    if layout.alpha is not None:
        visible = is_visible(to_unit(layout.alpha))
        seen = fill_invisible(batch, visible)

    def run(part: Tensor) -> Tensor:
        # The network's device holds one tile at a time, and tiles of a half precision network are blended in float32.
        return network(part.to(device, dtype)).to(part)

    side, at_once = None if tile == "auto" else tile, len(batch)
    if tile == "auto" and len(batch) * padded_pixels(height, width) > SMALLEST_TILE**2:
        affordable = affordable_pixels(run, batch)
        side = automatic_tile(affordable, height, width)
        at_once = max(1, affordable // padded_pixels(height, width))
    parts = torch.split(seen, at_once)
    restored = torch.cat(
        [run(part) if side is None else tiled(run, part, side, shared, on_share=on_share) for part in parts]
    )
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
