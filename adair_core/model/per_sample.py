"""One batch in which each image uses its own adapter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.errors import UsageError, expected
from adair_core.model.folding import Combination
from adair_core.ops.constants import constants
from adair_core.ops.per_image import PerImage

Chosen = str | Mapping[str, float] | None
"""What restores an image: an adapter, a blend of several with their strengths, or the base alone."""

Runs = Sequence[tuple[Combination, int]]
"""Combinations of adapters, and how many images of a batch have each: the first ones have the first."""


def group_images(adapters: Sequence[Chosen], count: int) -> dict[Combination, list[int]]:
    """Collect the images of each combination of adapters.

    Args:
        adapters: what restores each image.
        count: of images.

    Returns:
        Combination -> indices of its images.

    Raises:
        UsageError: there are not as many entries as images, or a strength is not finite.
    """
    if isinstance(adapters, str | Mapping) or len(adapters) != count:
        got = repr(adapters) if isinstance(adapters, str | Mapping) else len(adapters)
        raise UsageError(expected("adapters", expected=f"a sequence, one for each of {count} images", got=got))
    groups: dict[Combination, list[int]] = {}
    for index, chosen in enumerate(adapters):
        groups.setdefault(_combination(chosen), []).append(index)
    return groups


def _combination(chosen: Chosen) -> Combination:
    if chosen is None:
        return ()
    if isinstance(chosen, str):
        return ((chosen, 1.0),)
    found = tuple((name, float(strength)) for name, strength in chosen.items())
    if not all(math.isfinite(strength) for _, strength in found):
        raise UsageError(expected("strengths of a blend", expected="finite numbers", got=dict(found)))
    return found


def run_grouped(
    run: Callable[[Tensor, Combination], Tensor], x: Tensor, groups: Mapping[Combination, Sequence[int]]
) -> Tensor:
    """Run each combination of adapters once, on all of its images.

    Args:
        run: restores a batch ``(n, C, H, W)`` with one combination.
        x: ``(B, C, H, W)``.
        groups: see `group_images`.

    Returns:
        ``(B, C, H, W)``, in the order of `x`.
    """
    if len(groups) <= 1:
        return run(x, next(iter(groups), ()))
    parts = [run(images_at(x, indices), combination) for combination, indices in groups.items()]
    return in_order(torch.cat(parts), [index for indices in groups.values() for index in indices])


def neighbours(
    groups: Mapping[Combination, Sequence[int]], weights_of: Callable[[Combination], Combination]
) -> tuple[list[int], Runs, Runs]:
    """Put images of the same weights side by side, and among them those of the same adapters.

    Args:
        groups: see `group_images`.
        weights_of: the part of a combination that changes weights.

    Returns:
        The order of the images; the runs of combinations in it, and those of the parts that change weights.
    """
    by_weights: dict[Combination, list[Combination]] = {}
    for combination in groups:
        by_weights.setdefault(weights_of(combination), []).append(combination)
    ordered = [combination for combinations in by_weights.values() for combination in combinations]
    return (
        [index for combination in ordered for index in groups[combination]],
        [(combination, len(groups[combination])) for combination in ordered],
        [(weights, sum(len(groups[each]) for each in combinations)) for weights, combinations in by_weights.items()],
    )


def in_order(x: Tensor, order: Sequence[int]) -> Tensor:
    """Put images back: image i of the result is the one at the place of i in `order`."""
    if list(order) == sorted(order):
        return x
    place = {index: position for position, index in enumerate(order)}
    return images_at(x, [place[index] for index in range(len(x))])


def images_at(x: Tensor, indices: Sequence[int]) -> Tensor:
    """The images ``(n, C, H, W)`` at some places of a batch."""
    return x[constants(indices, x.device)]


class ParametersPerImage:
    """Folded parameters of several combinations, laid side by side; the last ones are kept."""

    def __init__(self) -> None:
        self._last: tuple[list[dict[str, Tensor]], list[int], dict[str, Tensor]] | None = None

    def get(self, backbone: nn.Module, folded: list[dict[str, Tensor]], counts: list[int]) -> dict[str, Tensor]:
        """Make the parameters of a batch.

        Args:
            backbone: with the base's own parameters.
            folded: the changed parameters of each combination; they do not change in place.
            counts: how many images have each of them.

        Returns:
            Full parameter name -> a `PerImage`, for the parameters that differ, or that change for all.
        """
        last = self._last
        if last is not None and last[1] == counts and all(map(_same, last[0], folded)):
            return last[2]
        made: dict[str, Tensor] = {}
        for name in dict.fromkeys(name for changed in folded for name in changed):
            own = backbone.get_parameter(name)
            made[name] = PerImage([changed.get(name, own) for changed in folded], counts)
        self._last = (folded, counts, made)
        return made

    def clear(self) -> None:
        """Forget them."""
        self._last = None

    def __getstate__(self) -> dict[str, Any]:
        """Copies of a model begin without: they have parameters of their own."""
        return {"_last": None}


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first is second or not (first or second)
