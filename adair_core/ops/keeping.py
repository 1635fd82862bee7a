"""What operators keep for the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

_recomputing = False


def keeps(*tensors: Tensor | None) -> bool:
    """Whether an operator keeps intermediate results: for a backward pass, unless memory is to be saved."""
    if _recomputing or not torch.is_grad_enabled():
        return False
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)


@contextlib.contextmanager
def recomputation(wanted: bool = True) -> Iterator[None]:
    """Let operators keep their inputs alone, and compute what the backward pass needs again: less memory, more time.

    It holds for all threads. Gradients are the same, to the bit, where the kernels are the same.

    Args:
        wanted: ``False`` does nothing.
    """
    global _recomputing
    before, _recomputing = _recomputing, wanted or _recomputing
    try:
        yield
    finally:
        _recomputing = before
