"""What is computed from a module's parameters alone: kept, in inference, for as long as they stay what they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

Version = tuple[int, int, torch.dtype, torch.device]
"""Of a tensor: differs when it was changed in place, replaced, moved or converted."""


def version(tensor: Tensor) -> Version:
    """Tell in which state a tensor is."""
    # Inference tensors keep no version; nothing outside inference mode can change them in place.
    changes = 0 if tensor.is_inference() else tensor._version
    return changes, tensor.data_ptr(), tensor.dtype, tensor.device


class Derived:
    """Tensors that are computed from parameters, each until one of these changes.

    With gradients, and where PyTorch compiles, transforms or captures a call, they are computed anew.

    Args:
        size: tensors that are kept.
    """

    def __init__(self, size: int = 16) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, tuple[list[Version], Tensor]] = OrderedDict()

    def get(self, key: Hashable, sources: Sequence[Tensor], make: Callable[[], Tensor]) -> Tensor:
        """Return ``make()``, or what it returned before.

        Args:
            key: what else the result depends on.
            sources: the tensors that it is computed from.
            make: computes it.
        """
        if not _may_keep(sources):
            return make()
        versions = [version(tensor) for tensor in sources]
        entry = self._kept.get(key)
        if entry is None or entry[0] != versions:
            # Tensors of inference mode could not take part in anything outside of it.
            with torch.inference_mode(False), torch.no_grad():
                entry = self._kept[key] = (versions, make())
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return entry[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies of a module begin without: they have parameters of their own."""
        return {"_size": self._size, "_kept": OrderedDict()}


def _may_keep(sources: Sequence[Tensor]) -> bool:
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        return False
    if torch._C._get_tracing_state() is not None or torch._C._len_torch_dispatch_stack():
        return False
    if sources[0].is_cuda and torch.cuda.is_current_stream_capturing():
        return False
    return all(type(tensor) in (Tensor, Parameter) for tensor in sources)
