"""What the network made of an image, kept so that another strength does not take the network again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from adair_core.model import RestorationModel
from adair_core.model.maps import Map, Store, StoredMap, WriteBand
from adair_core.model.tiling import WRITTEN_AT_ONCE


class Remembered:
    """A network that runs once, for one image; every strength after that blends what it gave.

    What it gave is kept as floats in a file without a name, which the system removes with this object or the process:
    12 bytes a pixel.

    Args:
        network: restores.
        folder: of the file.
    """

    def __init__(self, network: RestorationModel, folder: Path) -> None:
        self._network, self._folder = network, folder
        self._restored: StoredMap | None = None

    def restore_rows(self, image: Map, write: WriteBand, *, strength: float, **how: Any) -> None:
        """See `adair_core.model.RestorationModel.restore_rows`: out = in + strength * (restored - in).

        Args:
            image: always the same.
            write: gets the rows.
            strength: of the blend; at 0 the network does not run.
            how: of the first call, which runs the network, everything else.

        Raises:
            AdairError: as the network's.
        """
        if self._restored is None and strength != 0:
            restored = Store(0, 0, str(self._folder)).new(3, image.height, image.width, torch.float32)
            self._network.restore_rows(image, restored.write, strength=1.0, **how)
            self._restored = restored
        step = max(1, WRITTEN_AT_ONCE // (image.width * 3 * 4))
        for top in range(0, image.height, step):
            bottom = min(top + step, image.height)
            given = image.read(top, bottom)[:, :3]
            if strength == 0 or self._restored is None:
                write(top, given)
                continue
            made = self._restored.read(top, bottom)
            write(top, made if strength == 1 else torch.lerp(given, made, strength))
