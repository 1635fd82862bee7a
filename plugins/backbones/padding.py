"""Padding images to a multiple of a size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad at the right and at the bottom until height and width are multiples.

    Reflects along a side that is longer than its padding, else repeats the border.

    Args:
        images: ``(B, C, H, W)``, H, W >= 1.
        multiple: of the result's height and width.

    Returns:
        ``(B, C, H', W')``; `images` itself where nothing is to do.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom:
        images = functional.pad(images, (0, 0, 0, bottom), mode="reflect" if bottom < height else "replicate")
    if right:
        images = functional.pad(images, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return images
