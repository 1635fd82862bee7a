"""Images to restore."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def gradient(dtype, height: int = 40, width: int = 56) -> np.ndarray:
    """A colourful image of all values."""
    top = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    x, y = np.meshgrid(np.linspace(0, top, width), np.linspace(0, top, height))
    return np.stack([x, y, (x + y) / 2], axis=2).astype(dtype)


def sent_png() -> bytes:
    """The file of an 8 bit RGB image of 56 x 40 pixels."""
    file = io.BytesIO()
    Image.fromarray(gradient(np.uint8)).save(file, "png")
    return file.getvalue()
