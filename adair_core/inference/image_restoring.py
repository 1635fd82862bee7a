"""Restoring an image that was read from a file: alpha, enlargement and float ranges around the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adair_core.data.images import ImageFile, from_tensor, to_tensor
from adair_core.data.pixels import from_batch, to_batch
from adair_core.data.transparency import fill_invisible, is_visible
from adair_core.inference.enlarging import enlarged
from adair_core.inference.highlights import check_range, under_highlights
from adair_core.inference.settings import Settings
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.tiling import OnShare


def restore_read(
    model: RestorationModel, image: ImageFile, settings: Settings, *, path: Path, on_share: OnShare | None = None
) -> tuple[ImageFile, tuple[str, ...]]:
    """Restore an image of a file.

    Args:
        model: the network.
        image: what was read.
        settings: strength, scale, tiles and white.
        path: the file, for messages.
        on_share: told after each tile of a large image how much of it is done.

    Returns:
        The restored image with everything else that `image` has, alpha enlarged with it, and what people should know.

    Raises:
        AdairError: the image or what the network makes of it cannot be used.
    """

    def restore(batch: Tensor) -> Tensor:
        return model.restore(
            batch,
            strength=settings.strength,
            tile=settings.tile,
            overlap=settings.overlap,
            precision=settings.precision,
            exact=settings.exact,
            graphs=settings.graphs,
            on_share=on_share,
        )

    is_float = image.pixels.dtype == np.float32
    notes = check_range(path, image.pixels, settings.white) if is_float else ()
    batch = to_tensor(image) / settings.white if is_float else to_tensor(image)
    alpha = None if image.alpha is None else to_batch(image.alpha)
    opacity = None if alpha is None else alpha[0][:, :1]
    if settings.scale > 1:
        if opacity is not None:
            batch = fill_invisible(batch, is_visible(opacity))
        # The network gets the enlarged image unrounded, as in training.
        restored = _restored(restore, enlarged(batch, settings.scale), is_float=is_float)
        larger = image.alpha
        if alpha is not None:
            larger = np.asarray(from_batch(enlarged(alpha[0], settings.scale).clamp(0, 1), alpha[1]))
    else:
        larger = image.alpha

        def with_alpha(part: Tensor) -> Tensor:
            return restore(part) if opacity is None else restore(torch.cat([part, opacity], dim=1))[:, :3]

        restored = _restored(with_alpha, batch, is_float=is_float)
    if is_float:
        restored = restored * settings.white
    return replace(from_tensor(restored, replace(image, alpha=None)), alpha=larger), notes


def _restored(restore: Callable[[Tensor], Tensor], batch: Tensor, *, is_float: bool) -> Tensor:
    return under_highlights(restore, batch) if is_float else restore(batch)
