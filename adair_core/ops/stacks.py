"""Parameters of several adapters in one tensor, as operators take them that compute a batch of adapters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.derived import Derived, may_keep

Stack = tuple[Tensor | None, ...]


class Stacks:
    """Makes stacks; in inference the last ones are kept, each until one of its parameters changes.

    A stack that is kept keeps its parameters: others in their memory could not be told from them.

    Args:
        size: stacks that are kept.
    """

    def __init__(self, size: int = 4) -> None:
        self._derived = Derived[tuple[list[Tensor], Stack]](size)

    def get(self, adapters: Sequence[Stack]) -> Stack:
        """Lay parameters side by side.

        Args:
            adapters: those of each of K adapters; of the same shapes, and ``None`` at the same places.

        Returns:
            ``(K, ...)`` for each parameter, ``None`` where there is none.
        """
        sources = [value for own in adapters for value in own if value is not None]
        if not may_keep(sources):
            return _stack(adapters)
        key = tuple(value.data_ptr() for value in sources)
        return self._derived.get(key, sources, lambda: (sources, _stack(adapters)))[1]


def _stack(adapters: Sequence[Stack]) -> Stack:
    columns = ([value for value in column if value is not None] for column in zip(*adapters, strict=True))
    return tuple(torch.stack(values) if values else None for values in columns)
