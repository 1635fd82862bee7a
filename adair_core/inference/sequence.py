"""Restoring an array several times, each time what the time before made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adair_core.data.images import ImageFile
from adair_core.data.pixels import to_batch
from adair_core.errors import UsageError, expected
from adair_core.inference.image_restoring import restore_read
from adair_core.inference.settings import Settings
from adair_core.inference.step import Step
from adair_core.model.restoration_model import RestorationModel


def restore_sequence(
    model: RestorationModel, image: npt.NDArray[Any], steps: Sequence[Step], settings: Settings | None = None
) -> npt.NDArray[Any]:
    """Restore an image by one step after the other.

    A step gets what the one before it made, as floats that are neither rounded nor clipped; the last one's result is
    rounded. Adapters are switched and not loaded, so what was folded for one image serves the next.

    Args:
        model: with all adapters that the steps name; its active ones are afterwards what they were.
        image: ``(H, W)`` or ``(H, W, C)`` uint8, uint16 or float32, with 1 to 4 channels: gray or RGB, with or without
            alpha.
        steps: at least one.
        settings: tiles, precision and so on; their own steps, strength and scale do not count.

    Returns:
        An array of the same type, enlarged by the product of the steps' scales.

    Raises:
        DataError: the image is of another kind.
        UnknownNameError: the model has no such adapter.
        UsageError: there are no steps, or the model is merged.
        AdairError: the network's output is not finite.

    >>> import adair_core as adair
    >>> model = adair.load("restormer-tiny")
    >>> _ = model.add_adapter("derain", "lora"), model.add_adapter("denoise", "lora")
    >>> steps = [Step(adapters={"derain": 1.0}), Step(adapters={"denoise": 1.0}, strength=0.5)]
    >>> restore_sequence(model, np.zeros((16, 24, 3), np.uint16), steps).dtype
    dtype('uint16')
    """
    if not steps:
        raise UsageError(expected("steps", expected="at least one", got="none"))
    _, layout = to_batch(image)  # which knows what an image is
    planes = image if image.ndim == 3 else image[..., None]
    alpha = planes[..., layout.colors] if layout.alpha is not None else None
    settings = replace(settings or Settings(), strength=1.0, scale=1, steps=tuple(steps))
    file = ImageFile(pixels=planes[..., : layout.colors], alpha=alpha)
    restored, _ = restore_read(model, file, settings, path=Path("image"))
    if image.ndim == 2:
        return restored.pixels[..., 0]
    return restored.pixels if restored.alpha is None else np.dstack([restored.pixels, restored.alpha])
