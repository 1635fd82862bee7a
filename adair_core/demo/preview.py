"""What browsers show of an image: they know neither TIFF nor floats, and most of them no 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adair_core.data.encoding import Coding
from adair_core.data.images import ImageFile, write_image

BACKGROUND = 255
"""Value behind what is transparent."""


def as_shown(image: ImageFile) -> ImageFile:
    """Return the image in 8 bits, without alpha, and with nothing else of its file but the colour profile."""
    pixels = _in_8_bits(image.pixels)
    if image.alpha is not None:
        alpha = _in_8_bits(image.alpha)[..., None].astype(np.uint32)
        pixels = ((pixels * alpha + BACKGROUND * (255 - alpha) + 127) // 255).astype(np.uint8)
    profile = {name: value for name, value in image.metadata.items() if name == "icc-profile-data"}
    return ImageFile(pixels=pixels, metadata=profile)


def write_preview(path: Path, image: ImageFile) -> Path:
    """Write what browsers show: a JPEG of quality 95 in the image's full size.

    Raises:
        DataError: it cannot be written.
    """
    write_image(path, as_shown(image), coding=Coding(quality=95, subsampling="4:4:4"))
    return path


def _in_8_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    if values.dtype == np.uint16:
        return np.asarray((values.astype(np.uint32) + 128) // 257, np.uint8)
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)
