"""What happens when memory runs out: the same image in fewer images at a time and in smaller tiles."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from adair_core.errors import is_out_of_memory
from adair_core.model.tiling import ALIGNMENT, OVERLAP, tiled

LAST_RESORT = 2 * OVERLAP
"""Side of the smallest tiles that are tried."""


class SmallerTilesWarning(UserWarning):
    """Memory ran out, so an image was restored in smaller tiles than it would have been."""


class WithinMemory:
    """Runs a network on as much as memory holds.

    What does not fit is tried again, image by image and then in tiles of half the side, and so is what comes later.

    Args:
        run: the network, ``(B, C, h, w)`` to ``(B, D, h, w)``.
        at_once: images at a time.
        side: largest side of what it is given; None = any.
        overlap: of the tiles into which that may be cut.
        device: where the network is.
    """

    def __init__(
        self, run: Callable[[Tensor], Tensor], *, at_once: int, side: int | None, overlap: int, device: torch.device
    ) -> None:
        self._run, self._at_once, self._side, self._overlap = run, at_once, side, overlap
        self._device = device

    def __call__(self, part: Tensor) -> Tensor:
        """Run it.

        Raises:
            MemoryError, RuntimeError: the network's own; memory ran out for tiles of `LAST_RESORT`, too.

        Warns:
            SmallerTilesWarning: tiles got smaller.
        """
        while True:
            try:
                images = [self._one(image) for image in torch.split(part, self._at_once)]
                return images[0] if len(images) == 1 else torch.cat(images)
            except (MemoryError, RuntimeError) as error:
                smaller = _half(self._side or max(part.shape[-2:]))
                if not is_out_of_memory(error) or (self._at_once == 1 and smaller is None):
                    raise
            # Not in the except clause, whose exception holds the tensors of the pass that failed.
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            elif self._device.type == "mps":
                torch.mps.empty_cache()
            if self._at_once > 1:
                self._at_once = 1  # the same result
                continue
            message = f"memory ran out; trying again in tiles of {smaller} pixels"
            warnings.warn(message, SmallerTilesWarning, stacklevel=2)
            self._side, self._overlap = smaller, min(self._overlap, OVERLAP)

    def _one(self, image: Tensor) -> Tensor:
        return self._run(image) if self._side is None else tiled(self._run, image, self._side, self._overlap)


def _half(side: int) -> int | None:
    """Half as large a tile; ``None`` where none is left to try."""
    if side <= LAST_RESORT:
        return None
    return max(side // 2 - side // 2 % ALIGNMENT, LAST_RESORT)
