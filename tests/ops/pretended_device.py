"""A device that is not there: tensors that say they are on it, with values that are computed on the CPU.

Where a tensor of the host comes among them, operations raise as they would on a CUDA device. So code for devices, tests
among it, shows such mistakes on machines that have none.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from adair_core.ops.native import cuda_library, library, switched_off
from adair_core.ops.registration import CUDA_KERNELS

DEVICE = torch.device("meta")
"""The one whose name autograd and PyTorch's parsers take without asking for a driver."""
HOST = torch.device("cpu")
CSRC = Path(__file__).parents[2] / "csrc"

_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten._index_put_impl_.default)
_WAITING = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)


class Elsewhere(Tensor):
    """A tensor on the device."""

    value: Tensor
    is_cuda = True  # what kernels ask before they take a tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> Elsewhere:
        options = {"strides": value.stride(), "storage_offset": value.storage_offset(), "dtype": value.dtype}
        made: Elsewhere = Tensor._make_wrapper_subclass(cls, value.shape, device=DEVICE, **options)
        made.value = value
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} of a tensor of the pretended device outside of it")

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        return self.to(HOST).tolist()


class PretendedDevice(TorchDispatchMode):
    """Computes there.

    Operators of adair run as on a CUDA device: the native kernel where it takes the arguments, else the reference. Of
    kernels only the callers run, which are Python; results are what is in their memory.

    Args:
        capturing: whether what a CUDA graph cannot hold is an error, too.

    Attributes:
        calls: of kernels, their names and arguments.
    """

    def __init__(self, *, capturing: bool = False) -> None:
        super().__init__()
        self._capturing = capturing
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    @property
    def kernels(self) -> set[str]:
        """Names of those that were called."""
        return {name for name, _ in self.calls}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if func.namespace == "adair" and any(isinstance(value, Elsewhere) for value in given):
            return self._operate(func._schema.name.partition("::")[2], args)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                return func.decompose(*args, **kwargs)
        self._check(func, given, kwargs.get("device"))
        if func.namespace == "adair_native":
            self.calls.append((func._schema.name.partition("::")[2], args))
            return None
        return _compute(func, args, kwargs)

    def _operate(self, name: str, args: Any) -> Any:
        kernel = CUDA_KERNELS.get(name)
        with self:
            if kernel is not None and not switched_off() and kernel.refusal(*args) is None:
                return kernel.run(*args)
            module = import_module(f"adair_core.ops.{name.removesuffix('_backward')}.reference")
            return getattr(module, name)(*args)

    def _check(self, func: Any, given: list[Tensor], asked: torch.device | None) -> None:
        copies = func in _COPIES
        # The host's numbers go with a launch of PyTorch's, and its indices are copied.
        alone = copies or func.namespace == "adair_native"
        places = {isinstance(value, Elsewhere) for value in given if alone or value.dim() > 0}
        if copies and asked is not None:
            places.add(asked == DEVICE)
        if self._capturing and (_waits(func, given) or (len(places) > 1 and (copies or func in _INDEXING))):
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
        if len(places) > 1 and not copies and func not in _INDEXING:
            raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found at least two")


def _waits(func: Any, given: list[Tensor]) -> bool:
    there = [value for value in given if isinstance(value, Elsewhere)]
    masks = func in _INDEXING and any(value.dtype == torch.bool for value in there[1:])
    return masks or (func in _WAITING and bool(there))


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    asked = kwargs.get("device")
    stays = asked == DEVICE if asked is not None else any(isinstance(v, Elsewhere) for v in tree_leaves((args, kwargs)))
    options = tree_map(_value, kwargs) if asked is None else {**tree_map(_value, kwargs), "device": HOST}
    result = func(*tree_map(_value, args), **options)
    if not stays or func in _WAITING[:1]:
        return result
    wrapped = tree_map(lambda value: Elsewhere(value) if isinstance(value, Tensor) else value, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _value(value: Any) -> Any:
    return value.value if isinstance(value, Elsewhere) else value


def elsewhere(value: Tensor) -> Tensor:
    """A leaf with the same values on the device."""
    return Elsewhere(value.detach().clone()).requires_grad_(value.requires_grad)


def sent(module: nn.Module) -> nn.Module:
    """A module whose parameters are now on the device."""
    for each in module.modules():
        for name, value in each._parameters.items():
            if value is not None:
                each._parameters[name] = elsewhere(value)  # type: ignore[assignment]
    return module


@contextlib.contextmanager
def kernels_declared() -> Iterator[None]:
    """Declare the kernels that only the library for CUDA has, from their sources, where it is not there."""
    library()
    schemas = [] if cuda_library().loaded else list(_cuda_schemas())
    with torch.library._scoped_library("adair_native", "FRAGMENT") as declared:
        for schema in schemas:
            declared.define(schema)
        yield


def _cuda_schemas() -> Iterator[str]:
    for path in sorted(CSRC.glob("*/cuda.cu")):
        for found in re.finditer(r'm\.def\(((?:\s*"[^"]*")+)\)', path.read_text(encoding="utf-8")):
            yield "".join(re.findall(r'"([^"]*)"', found[1]))
