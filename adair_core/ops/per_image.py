"""A parameter that is not the same for all images of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.ops.layout import memory_format


class NotPerImageError(Exception):
    """Something was done with a parameter per image that it cannot answer: the batch has to be run in parts."""


class PerImage(Tensor):
    """The values that a parameter has for the images of a batch; it can stand where the parameter stands.

    It has the shape of one value, and can be read by `torch.nn.functional.conv2d` and by the operators of `adair_core`
    that look for it. Everything else that is done with it raises `NotPerImageError`.

    Args:
        variants: tensors of the same shape, dtype and device.
        counts: how many images of the batch have each of them: the first ones have the first.

    Attributes:
        variants: see Args.
        counts: see Args.
    """

    variants: tuple[Tensor, ...]
    counts: tuple[int, ...]

    @staticmethod
    def __new__(cls, variants: Sequence[Tensor], counts: Sequence[int]) -> PerImage:
        """Make one; a constructor would be too late, as tensors have their shapes from the beginning."""
        first = variants[0]
        made: PerImage = Tensor._make_wrapper_subclass(cls, first.shape, dtype=first.dtype, device=first.device)
        made.variants, made.counts = tuple(variants), tuple(counts)
        return made

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Answer what a single parameter of that shape would, and convolve."""
        if func is functional.conv2d:
            return _convolve(*args, **(kwargs or {}))
        if func.__name__ not in _DESCRIPTIONS:
            raise NotPerImageError(f"{func.__name__} of a parameter per image")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Refuse: there is no single value."""
        raise NotPerImageError(f"{func} of a parameter per image")


_DESCRIPTIONS = frozenset({"__get__", "__len__", "dim", "size", "numel", "is_floating_point"})


def varies(parameters: Iterable[Tensor | None]) -> bool:
    """Whether any of the parameters is per image."""
    return any(isinstance(value, PerImage) for value in parameters)


def shares(x: Tensor, parameters: Sequence[Tensor | None]) -> list[tuple[Tensor, list[Tensor | None]]]:
    """Divide a batch so that each share has parameters of its own.

    Args:
        x: ``(B, ...)``.
        parameters: some of them per image.

    Returns:
        The shares of `x` in order, each with its parameters.

    Raises:
        NotPerImageError: `x` is not the batch that the parameters are for.
    """
    counts = counts_of(x, parameters)
    return [
        (share, [value.variants[place] if isinstance(value, PerImage) else value for value in parameters])
        for place, share in enumerate(torch.split(x, counts))
    ]


def counts_of(x: Tensor, parameters: Sequence[Tensor | None]) -> list[int]:
    """How many images of a batch have each of the values.

    Raises:
        NotPerImageError: `x` is not the batch that the parameters are for.
    """
    found = {value.counts for value in parameters if isinstance(value, PerImage)}
    if len(found) != 1 or sum(counts := next(iter(found))) != len(x):
        raise NotPerImageError(f"a batch of {len(x)} with parameters for {sorted(found)} images")
    return list(counts)


def in_shares(operation: Callable[..., Tensor], x: Tensor, parameters: Sequence[Tensor | None]) -> Tensor:
    """Compute ``operation(x, *parameters)`` for each share of a batch with its own parameters.

    Args:
        operation: from images and parameters to images.
        x: ``(B, ...)``.
        parameters: some of them per image.

    Raises:
        NotPerImageError: `x` is not the batch that the parameters are for.
    """
    results = [operation(share, *own) for share, own in shares(x, parameters)]
    return torch.cat(results).contiguous(memory_format=memory_format(results[0]))


def index_of_each(adapters: Sequence[object | None], counts: Sequence[int]) -> list[int]:
    """What operators take that compute a batch of adapters, such as `bottleneck_batch`.

    Args:
        adapters: ``None`` is none.
        counts: how many images of the batch have each of them: the first ones have the first.

    Returns:
        For each image the place of its adapter among those that are not ``None``, or -1.
    """
    index: list[int] = []
    place = 0
    for adapter, count in zip(adapters, counts, strict=True):
        index += [-1 if adapter is None else place] * count
        place += adapter is not None
    return index


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, *arguments: Any, **options: Any) -> Tensor:
    def convolve(share: Tensor, own_weight: Tensor, own_bias: Tensor | None) -> Tensor:
        return functional.conv2d(share, own_weight, own_bias, *arguments, **options)

    return in_shares(convolve, x, (weight, bias))
