"""What is computed from a module's parameters alone: kept, in inference, for as long as they stay what they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn import Parameter

Version = tuple[int, int, torch.dtype, torch.device]
"""Of a tensor: differs when it was changed in place, replaced, moved or converted."""

Made = TypeVar("Made")


def version(tensor: Tensor) -> Version:
    """Tell in which state a tensor is."""
    # Inference tensors keep no version; nothing outside inference mode can change them in place.
    changes = 0 if tensor.is_inference() else tensor._version
    return changes, tensor.data_ptr(), tensor.dtype, tensor.device


class VersionCache(Generic[Made]):
    """Keeps the last results of computations on tensors, each until one of these changes.

    Args:
        size: results that are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, tuple[list[Version], Made]] = OrderedDict()

    def get(self, key: Hashable, sources: Sequence[Tensor], make: Callable[[], Made]) -> Made:
        """Return ``make()``, or what it returned before.

        Args:
            key: what else the result depends on.
            sources: the tensors that it is computed from.
            make: computes it.
        """
        versions = [version(tensor) for tensor in sources]
        entry = self._entries.get(key)
        if entry is None or entry[0] != versions:
            entry = self._entries[key] = (versions, make())
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return entry[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Copies of a module begin without: they have parameters of their own."""
        return {"_size": self._size, "_entries": OrderedDict()}


class Derived(Generic[Made]):
    """What is computed from parameters, tensors mostly, each until one of these changes.

    With gradients, and where PyTorch compiles, transforms or captures a call, they are computed anew.

    Args:
        size: results that are kept.
    """

    def __init__(self, size: int = 16) -> None:
        self._cache = VersionCache[Made](size)

    def get(self, key: Hashable, sources: Sequence[Tensor], make: Callable[[], Made]) -> Made:
        """Return ``make()``, or what it returned before; arguments as for `VersionCache.get`."""
        if not may_keep(sources):
            return make()

        def make_for_everybody() -> Made:
            # Tensors of inference mode could not take part in anything outside of it.
            with torch.inference_mode(False), torch.no_grad():
                return make()

        return self._cache.get(key, sources, make_for_everybody)


def may_keep(sources: Sequence[Tensor]) -> bool:
    """Whether what is computed from tensors can serve later calls: in inference, where nobody watches."""
    if is_watched(sources[0].device) or torch.is_grad_enabled():
        return False
    return all(type(tensor) in (Tensor, Parameter) for tensor in sources)


def is_watched(device: torch.device) -> bool:
    """Whether PyTorch compiles, transforms, traces or captures this call, and has to see how each tensor is made."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return True
    if torch._C._get_tracing_state() is not None or torch._C._len_torch_dispatch_stack():
        return True
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
