"""Parts of a scene: regions whose borders are those that the image shows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SMOOTHING = 5
"""Side, in pixels, of the square over which colours are averaged, so that texture does not tear a part apart."""
PLACE_WEIGHT = 0.3


def scene_parts(image: Tensor, seeds: Tensor, color_weight: float) -> Tensor:
    """Divide an image into regions around seeds: each pixel goes to the seed that it is most like.

    Equation::

        part(p) = argmin_k  w |s(p) - s(q_k)|^2 + 0.3 |p - q_k|^2

    with s the image averaged over 5 x 5 pixels, places p and seeds q_k in units of the height and the width, and w the
    weight of colours. That is the first assignment of SLIC superpixels (Achanta et al., IEEE TPAMI 2012, equation 3),
    with few seeds at random places.

    Args:
        image: ``(C, H, W)``, any float type.
        seeds: ``(K, 2)``, K >= 1, row and column in [0, 1).
        color_weight: w, not negative; 0 = parts of no regard to the image.

    Returns:
        ``(H, W)`` int64 on the CPU, in [0, K). Computed there in float64, so that images of another type or device are
        divided alike.
    """
    height, width = image.shape[-2:]
    exact = image.detach().to("cpu", torch.float64)[None].contiguous()
    margin = SMOOTHING // 2
    smooth = functional.avg_pool2d(functional.pad(exact, (margin,) * 4, mode="replicate"), SMOOTHING, stride=1)[0]
    rows = (torch.arange(height, dtype=torch.float64)[:, None] + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    parts = torch.zeros(height, width, dtype=torch.int64)
    nearest = torch.full((height, width), torch.inf, dtype=torch.float64)
    for index, (row, column) in enumerate(seeds.tolist()):  # one at a time: all at once want K times the memory
        color = smooth[:, int(row * height), int(column * width), None, None]
        place = (rows - row).square() + (columns - column).square()
        distance = color_weight * (smooth - color).square().sum(0) + PLACE_WEIGHT * place
        closer = distance < nearest
        parts[closer] = index
        nearest = torch.where(closer, distance, nearest)
    return parts
