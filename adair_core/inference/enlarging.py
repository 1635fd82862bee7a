"""Bicubic enlargement: the input of super-resolution."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

REACH = 4
"""Pixels beyond the border that the 4 x 4 cubic kernel may reach, and more than enough."""


def enlarged(image: Tensor, scale: int) -> Tensor:
    """Enlarge as MATLAB's ``imresize(image, scale, 'bicubic')``, which super-resolution networks are trained on.

    Args:
        image: ``(B, C, H, W)``, float.
        scale: how many times larger, >= 1.

    Returns:
        ``(B, C, scale H, scale W)``, not clipped: the cubic kernel overshoots at edges.
    """
    if scale == 1:
        return image
    # With antialias, torch takes the cubic kernel with a = -1/2 that MATLAB takes; at the border MATLAB mirrors the
    # image including its outermost pixels, which is numpy's "symmetric" and none of torch's padding modes.
    around = [(0, 0), (0, 0), (REACH, REACH), (REACH, REACH)]
    padded = torch.from_numpy(np.pad(image.cpu().numpy(), around, mode="symmetric")).to(image.device)
    large = functional.interpolate(padded, scale_factor=float(scale), mode="bicubic", antialias=True)
    border = scale * REACH
    return large[..., border:-border, border:-border]
