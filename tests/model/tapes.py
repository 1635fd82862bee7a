"""Stand-ins for CUDA graphs on a CPU: recordings that repeat operators on the memory that these used."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from adair_core.model import RestorationModel
from adair_core.model.captures import FIRST
from adair_core.model.cuda_graph import Computation, Recording, batch_like


class Tape(TorchDispatchMode):
    """The operators of a computation, with the memory of their arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        # Aliases: a parameter may get other memory later.
        self.steps.append((func, tree_map(alias, args), tree_map(alias, kwargs or {}), tree_map(alias, result)))
        return result

    def replay(self) -> None:
        with torch.inference_mode():  # memory has no modes
            for func, args, kwargs, result in self.steps:
                for old, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def outside(self) -> set[int]:
        """Addresses that it reads and does not write."""
        reads = {v.untyped_storage().data_ptr() for step in self.steps for v in tree_leaves(step[1:3]) if is_tensor(v)}
        writes = {v.untyped_storage().data_ptr() for step in self.steps for v in tree_leaves(step[3])}
        return reads - writes


def is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def alias(value):
    return value.detach() if is_tensor(value) else value


class Tapes:
    """A recorder for CPUs."""

    def __init__(self) -> None:
        self.made: list[Tape] = []
        self.error: Exception | None = None

    def obstacle(self, x: Tensor) -> str | None:
        return None

    def record(self, compute: Computation, x: Tensor) -> Recording:
        if self.error is not None:
            raise self.error
        batch, tape = batch_like(x), Tape()
        with tape:
            result = compute(batch)
        result.fill_(float("nan"))
        self.made.append(tape)
        return Recording(batch, result, tape.replay)


def replay_often(model: RestorationModel, x: Tensor, adapters=None) -> list[Tensor]:
    return [model.replay(x, adapters) for _ in range(FIRST + 2)]
