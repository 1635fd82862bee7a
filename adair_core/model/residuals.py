"""Adding feature adapters' residuals to a module's output."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.adapter import FeatureAdapter
from adair_core.ops.per_image import NotPerImageError

Stack = Sequence[tuple[FeatureAdapter, float]]
"""Feature adapters at one site, one after the other, each with its strength."""


def add_residuals(features: Tensor, stack: Stack, skip: Tensor | None = None) -> Tensor:
    """Add to a module's output what adapters make of it.

    Args:
        features: ``(B, C, H, W)``, the module's output.
        stack: the adapters; each sees `features`.
        skip: ``(B, C, H, W)``, what is added besides.

    Returns:
        ``(B, C, H, W)`` in the dtype of `features`.
    """
    output = features
    for module, strength in stack:
        with _precision(module, features):
            if skip is None:
                output = module.add_to(output, features, strength)
            else:
                output, skip = module.add_with_skip(skip, features, strength), None
            output = output.to(features.dtype)
    return output if skip is None else skip + output


def add_residuals_per_image(
    features: Tensor, stacks: Sequence[Stack], counts: Sequence[int], skip: Tensor | None = None
) -> Tensor:
    """Add them to a batch whose images have different adapters.

    Args:
        features: ``(B, C, H, W)``, the module's output.
        stacks: the adapters of the images.
        counts: how many images have each of the stacks: the first ones have the first.
        skip: ``(B, C, H, W)``, what is added besides.

    Returns:
        ``(B, C, H, W)`` in the dtype of `features`.

    Raises:
        NotPerImageError: the module's output is not one for each image of the batch.
    """
    if len(features) != sum(counts):
        raise NotPerImageError(f"features of {len(features)} images in a batch of {sum(counts)}")
    output = features
    for depth in range(max(map(len, stacks))):
        entries = [stack[depth] if depth < len(stack) else None for stack in stacks]
        for kind in dict.fromkeys(type(entry[0]) for entry in entries if entry is not None):
            chosen = [entry if entry is not None and type(entry[0]) is kind else None for entry in entries]
            module = next(entry[0] for entry in chosen if entry is not None)
            with _precision(module, features):
                if skip is None:
                    output = kind.add_to_each(output, features, chosen, counts)
                else:
                    output, skip = kind.add_each_with_skip(skip, features, chosen, counts), None
                output = output.to(features.dtype)
    return output if skip is None else skip + output


def _precision(module: FeatureAdapter, features: Tensor) -> contextlib.AbstractContextManager[Any]:
    """How an adapter that is kept in float32 works on half precision features: as autocast would have it."""
    device = features.device.type
    if features.dtype not in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled(device):
        return contextlib.nullcontext()
    parameter = next(module.parameters(), None)
    if parameter is None or parameter.dtype == features.dtype:
        return contextlib.nullcontext()
    return torch.autocast(device, features.dtype)
