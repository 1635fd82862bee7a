"""Training samples: a patch of an image, degraded, as a pure function of (seed, sample index)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from adair_core.data.flat_areas import FlatArea
from adair_core.data.pixels import LUMA, Array, to_unit
from adair_core.data.seeds import generator
from adair_core.data.sources import Pixels, Source
from adair_core.degradation import Degradation, uniform, uniform_integer
from adair_core.errors import DataError, UsageError, expected


class PatchPairs(Dataset[dict[str, Any]]):
    """Endless training samples, numbered from 0.

    Sample n shows image ``order[n mod N]`` of epoch ``n div N``: N images in an order of the epoch's own. A patch is
    cut at a uniform place and turned or mirrored (one of the 8 symmetries of the square), floats are clipped to [0, 1],
    and clean images are then degraded, gray ones in their one channel. A share of the samples has a `FlatArea`. Every
    draw comes from a generator of (seed, n) alone, so neither workers nor processes, prefetching or the batch change a
    bit. If an image turns out to be damaged, the sample shows the next one in the epoch's order.

    Args:
        source: images or pairs.
        seed: of every draw.
        degradation: for clean images; None for pairs.
        flat_share: of the samples, those with a flat area, in [0, 1].
        gray_share: of the samples, those of which input and target become their luma in all channels, in [0, 1].

    Raises:
        UsageError: clean images without a degradation.
    """

    def __init__(
        self,
        source: Source,
        *,
        seed: int,
        degradation: Degradation | None = None,
        flat_share: float = 0.0,
        gray_share: float = 0.0,
    ) -> None:
        self.source, self.seed, self.degradation = source, seed, degradation
        self.flat_share, self.gray_share = flat_share, gray_share

    def __len__(self) -> int:
        """Return the samples of one epoch, the number of images."""
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Return a sample.

        Args:
            key: global sample index, patch size.

        Returns:
            ``input`` and ``target``, ``(3, P, P)`` float32 (the target in [0, 1]), and ``index``.

        Raises:
            DataError: no image can be decoded, or one is smaller than the patch.
            UsageError: clean images without a degradation.
        """
        index, size = key
        pixels = self._pixels(index)
        draws = generator(self.seed, "patch", index)
        height, width = pixels.target.shape[:2]
        if min(height, width) < size:
            raise DataError(expected("image", expected=f"at least {size} x {size}", got=f"{width} x {height}"))
        top = uniform_integer(0, height - size, draws)
        left = uniform_integer(0, width - size, draws)
        symmetry = uniform_integer(0, 7, draws)

        def patch(image: Array) -> Tensor:
            return _to_tensor(image[top : top + size, left : left + size], symmetry)

        target, area = patch(pixels.target), self._flat_area(index, size)
        if pixels.input is not None:
            degraded = patch(pixels.input)
        elif self.degradation is None:
            raise UsageError("clean images need a degradation that makes pairs of them")
        else:
            if area is not None and area.damaged:
                target, area = area.laid_on(_in_colour(target)), None
            with torch.no_grad():  # of a gray image as it is, in one channel
                degraded = self.degradation(target[None], generator(self.seed, "degradation", index))[0]
        degraded, target = _in_colour(degraded), _in_colour(target)
        if area is not None:
            degraded, target = area.laid_on(degraded), area.laid_on(target)
        if self.gray_share and uniform((0, 1), generator(self.seed, "gray", index)) < self.gray_share:
            degraded, target = _in_gray(degraded), _in_gray(target)
        return {"input": degraded, "target": target, "index": index}

    def _flat_area(self, index: int, size: int) -> FlatArea | None:
        if not self.flat_share:
            return None
        # Its own generator: what the other draws are does not depend on the share.
        draws = generator(self.seed, "flat", index)
        return FlatArea.draw(size, draws) if uniform((0, 1), draws) < self.flat_share else None

    def _pixels(self, index: int) -> Pixels:
        epoch, position = divmod(index, len(self.source))
        order = _epoch_order(self.seed, epoch, len(self.source))
        for offset in range(len(order)):
            try:
                return self.source.read(order[(position + offset) % len(order)])
            except DataError as error:
                failure = error
        raise DataError(f"none of {len(order)} images can be decoded; the last: {failure}")


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    return tuple(torch.randperm(count, generator=generator(seed, "order", epoch)).tolist())


def _to_tensor(patch: Array, symmetry: int) -> Tensor:
    """Turn a patch ``(P, P, C)`` by ``symmetry mod 4`` quarters, mirror it if ``symmetry >= 4``; -> ``(C, P, P)``."""
    turned = np.rot90(patch, symmetry % 4)
    planes = turned[:, ::-1] if symmetry >= 4 else turned
    copy = np.array(planes.transpose(2, 0, 1), order="C")  # the image may be a read-only file
    return to_unit(torch.from_numpy(copy)).clamp_(0, 1)


def _in_gray(image: Tensor) -> Tensor:
    """Show the luma of ``(3, P, P)`` in all channels; of a gray image, that one's very values."""
    red, green, blue = image[:1], image[1:2], image[2:]
    # Differences to green, so that equal channels stay the bits that they are.
    luma = green + LUMA[0] * (red - green) + LUMA[2] * (blue - green)
    return _in_colour(luma)


def _in_colour(image: Tensor) -> Tensor:
    return image.expand(3, -1, -1).contiguous()
