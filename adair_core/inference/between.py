"""What one restoration gives to the next: the image as floats, in memory or in a temporary file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from adair_core.data.images import ImageFile, ImageInfo
from adair_core.model.maps import Store


class Between:
    """A restored image that is restored again: float32, neither rounded nor clipped.

    It is written row by row and then read, in any order; see `adair_core.data.image_file.ImageRows`.

    Args:
        info: about the image; its type becomes float32.
        store: where the values are kept.

    Attributes:
        info: about the image.

    Raises:
        AdairError: memory has no room for it, and neither has the disk.
    """

    def __init__(self, info: ImageInfo, store: Store) -> None:
        self.info = replace(info, dtype=np.dtype(np.float32))
        self._values = store.new(info.channels, info.height, info.width, torch.float32)
        self._next = 0

    def write(self, band: ImageFile) -> None:
        """Take the next rows."""
        planes = band.pixels if band.alpha is None else np.concatenate([band.pixels, band.alpha[..., None]], axis=2)
        self._values.write(self._next, torch.from_numpy(planes).permute(2, 0, 1)[None])
        self._next += band.height

    def rows(self, top: int, bottom: int) -> ImageFile:
        """Rows [top, bottom), which may not be written to."""
        values = self._values.read(top, bottom)[0].permute(1, 2, 0).numpy()
        colors = self.info.colors
        return self.info.image(values[..., :colors], values[..., colors] if self.info.has_alpha else None)
