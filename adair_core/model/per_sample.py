"""One batch in which each image uses its own adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected


def group_images(adapters: Sequence[str | None], count: int) -> dict[str | None, list[int]]:
    """Collect the images of each adapter.

    Args:
        adapters: the adapter of each image; ``None`` is the base alone.
        count: of images.

    Returns:
        Adapter -> indices of its images.

    Raises:
        UsageError: there are not as many names as images.
    """
    if isinstance(adapters, str) or len(adapters) != count:
        got = repr(adapters) if isinstance(adapters, str) else len(adapters)
        raise UsageError(expected("adapters", expected=f"a sequence, one for each of {count} images", got=got))
    groups: dict[str | None, list[int]] = {}
    for index, name in enumerate(adapters):
        groups.setdefault(name, []).append(index)
    return groups


def run_grouped(
    run: Callable[[Tensor, str | None], Tensor], x: Tensor, groups: Mapping[str | None, Sequence[int]]
) -> Tensor:
    """Run each adapter once, on all of its images.

    Args:
        run: restores a batch ``(n, C, H, W)`` with one adapter; ``None`` is the base alone.
        x: ``(B, C, H, W)``.
        groups: see `group_images`.

    Returns:
        ``(B, C, H, W)``, in the order of `x`.
    """
    if len(groups) <= 1:
        return run(x, next(iter(groups), None))
    parts = [run(x[list(indices)], name) for name, indices in groups.items()]
    place = {index: position for position, index in enumerate(i for indices in groups.values() for i in indices)}
    return torch.cat(parts)[[place[index] for index in range(len(x))]]
