"""The feed-forward branch on a CUDA device (csrc/feed_forward): one kernel while channels are few, else `composed`."""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.ops import pixel_steps
from adair_core.ops.branches import gathered
from adair_core.ops.feed_forward import composed
from adair_core.ops.feed_forward.parameters import Parameters
from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, images, parameter, pixels, refuse, refuse_backward
from adair_core.ops.per_image import varies

MOST_CHANNELS = 96
"""Of the kernel (kLargestFeedForward): it keeps them in registers."""
WIDEST_ACCESS = 16
"""Bytes that a lane reads at once, where the hidden channels are a multiple; Restormer's, int(2.66 C), seldom are."""


def _forward(
    x: Tensor,
    parameters: Parameters,
    eps: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    if x.shape[1] > MOST_CHANNELS:
        # What is kept has the width that the operator promises; and who differs per image is not laid out anew.
        widens = not keep and not varies(parameters)
        own = parameters.widened(WIDEST_ACCESS // x.element_size()) if widens else parameters
        return composed.forward(x, own, eps, residual, keep)
    layout, source = memory_format(x), pixels(x)
    convolved = source.new_empty((*source.shape[:3], parameters.in_weight.shape[0])) if keep else None
    result = torch.empty_like(source)
    norm_weight, norm_bias, *others = map(parameter, parameters)
    pixel_steps.kernels.feed_forward_in_tiles(source, norm_weight, norm_bias, eps, *others, residual, result, convolved)
    return images(result, layout), x.new_empty(0) if convolved is None else images(convolved, layout)


FORWARD = NativeKernel(gathered(Parameters, _forward, after=1), refuse)
BACKWARD = NativeKernel(gathered(Parameters, composed.backward, after=2), refuse_backward)
