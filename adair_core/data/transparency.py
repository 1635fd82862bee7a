"""Colours under transparency: what a network should see where nobody sees anything.

Pixels that are not visible hold any colour at all, black or the leftovers of an eraser. A network, and every
enlargement, would mix it into the visible pixels beside them: a fringe. So they get the colour of what is visible
nearby:

    w_0 = 1 where visible, else 0
    pull:  c_k, w_k = sums over 2 x 2 pixels of w c and w, c_k normalised, w_k at most 1
    push:  c_k <- w_k c_k + (1 - w_k) enlarged(c_{k+1})

from the smallest level to the image itself.

Source: Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4.2 (pull-push).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

VISIBLE = 1 / 64
"""Pixels of less alpha count as invisible: of 8 bits, the colour of the faintest is mostly rounding."""


def is_visible(alpha: Tensor) -> Tensor:
    """Tell which pixels can be seen.

    Args:
        alpha: ``(B, 1, H, W)`` float in [0, 1].
    """
    return alpha >= VISIBLE


def fill_invisible(image: Tensor, visible: Tensor) -> Tensor:
    """Continue the colours of visible pixels smoothly into the others.

    Args:
        image: ``(B, C, H, W)`` float.
        visible: ``(B, 1, H, W)`` bool.

    Returns:
        The image, unchanged where it is visible, and where nothing is.
    """
    anything = visible.flatten(1).any(dim=1)[:, None, None, None]
    if not bool(anything.any()) or bool(visible.all()):
        return image
    seen = visible.to(image.dtype)
    filled = torch.where(visible, image, _pushed(image * seen, seen))
    return torch.where(anything, filled, image)


def _pushed(weighted: Tensor, weight: Tensor) -> Tensor:
    """Fill one level from the next; `weighted` is colour times weight."""
    height, width = weighted.shape[-2:]
    color = weighted / weight.clamp(min=1e-12)
    if height == 1 and width == 1:
        return color
    sums = [4 * functional.avg_pool2d(_even(part), 2) for part in (weighted, weight)]
    capped = sums[1].clamp(max=1)
    smaller = _pushed(sums[0] / sums[1].clamp(min=1e-12) * capped, capped)
    larger = functional.interpolate(smaller, size=(height + height % 2, width + width % 2), mode="bilinear")
    return weight * color + (1 - weight) * larger[..., :height, :width]


def _even(part: Tensor) -> Tensor:
    return functional.pad(part, (0, part.shape[-1] % 2, 0, part.shape[-2] % 2))
