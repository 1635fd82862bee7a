"""Bottlenecks of a batch in which each image has its own, in plain PyTorch: one after the other, each on its images.

The arithmetic is that of `adair_core.ops.bottleneck.reference`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops.bottleneck import reference as single
from adair_core.ops.layout import memory_format


def require_index(index: Tensor, adapters: int) -> None:
    """Require that every value is an adapter, or -1.

    Raises:
        UsageError: one is not.
    """
    for value in index.tolist():
        if not -1 <= value < adapters:
            raise UsageError(expected("index", expected=f"values from -1 to {adapters - 1}", got=value))


def bottleneck_batch(x: Tensor, *arguments: Any) -> Tensor:
    """Compute what the adapters make of x, and add to it `base`, where there is one, and x, for a residual.

    Args:
        x: ``(B, C, H, W)``.
        arguments: the parameters of `bottleneck` in order, each with a first dimension of K adapters, and index
            ``(B,)``: the adapter of each image, -1 for none; and base, ``(B, C, H, W)``, and injected,
            ``(B, r, H, W)``, or ``None``; and whether x is added.

    Returns:
        ``(B, C, H, W)``.
    """
    *stack, index, base, injected, residual = arguments
    require_index(index, len(stack[-1]))
    result = torch.zeros_like(x, memory_format=memory_format(x))
    for adapter, chosen in _groups(index, x.device):
        added = None if injected is None else injected[chosen]
        of_adapter = [*_of(stack, adapter), None, added]
        result = result.index_copy(0, chosen, single.bottleneck(x[chosen], *of_adapter))
    result = result if base is None else base + result
    result = x + result if residual else result
    return result.contiguous(memory_format=memory_format(x))


def bottleneck_batch_backward(gradient: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Gradients with respect to x and the parameters.

    Args:
        gradient: of the result, ``(B, C, H, W)``.
        x: as in `bottleneck_batch`.
        arguments: as in `bottleneck_batch`, but for base, and between the last two whether the gradient of x is
            wanted: without, it is empty.

    Returns:
        Gradients in the order of the inputs; those of inputs that are ``None`` are empty.
    """
    *stack, index, injected, needs_x, residual = arguments
    layout = memory_format(x)
    to_x = torch.zeros_like(x, memory_format=layout) if needs_x else x.new_empty(0)
    to_injected = x.new_empty(0) if injected is None else torch.zeros_like(injected, memory_format=layout)
    found = [x.new_empty(0) if value is None else value.new_zeros(value.shape) for value in stack]
    for adapter, chosen in _groups(index, x.device):
        images = x[chosen].contiguous(memory_format=layout)
        added = None if injected is None else injected[chosen]
        of_adapter = [*_of(stack, adapter), added, needs_x, False]
        to_images, *to_stack, to_added = single.bottleneck_backward(gradient[chosen], images, *of_adapter)
        if injected is not None:
            to_injected[chosen] = to_added
        if needs_x:
            to_x[chosen] = to_images
        for value, whole, part in zip(stack, found, to_stack, strict=True):
            if value is not None:
                whole[adapter] = part
    to_x = (to_x + gradient).contiguous(memory_format=layout) if needs_x and residual else to_x
    return to_x, *found, to_injected


def _groups(index: Tensor, device: torch.device) -> list[tuple[int, Tensor]]:
    """Each adapter that is used, and its images; `index` may be on the host, whatever the device of the images."""
    adapters = sorted(set(index.tolist()) - {-1})
    return [(adapter, (index == adapter).nonzero()[:, 0].to(device)) for adapter in adapters]


def _of(stack: list[Tensor | None], adapter: int) -> list[Any]:
    return [None if value is None else value[adapter] for value in stack]
