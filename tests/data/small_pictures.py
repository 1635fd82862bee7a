"""Pictures to write to files, and a file that is written again."""

from pathlib import Path
from typing import Any

import numpy as np

from adair_core.data.encoding import Coding
from adair_core.data.images import read_image, write_image

RNG = np.random.default_rng(3)
COLORS = RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(48) * 5, np.arange(40) * 6, indexing="xy"), axis=2).astype(np.uint8)
SMOOTH = np.concatenate([SMOOTH, SMOOTH[..., :1] // 2], axis=2)


def again(path: Path, name: str, **options: Any) -> Path:
    """Read a file and write what was read."""
    target = path.with_name(name)
    write_image(target, read_image(path), overwrite=True, coding=Coding(**options))
    return target
