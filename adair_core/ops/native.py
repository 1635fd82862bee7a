"""The native kernels: finding the libraries, and what each kernel takes.

There is a library for CPUs and one for CUDA devices. They are optional: without one every operator runs its reference
there, and nothing is said; a library that is there and cannot be loaded, or was built from other sources, is a broken
installation, and warns. `adair doctor` explains both.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError
from adair_core.ops import built_from
from adair_core.ops.cards import unfit
from adair_core.ops.layout import memory_format
from adair_core.ops.per_image import PerImage
from adair_core.tuning import runtime

_SUFFIXES = (".so", ".pyd")
_switched_off: list[str] = []


class NativeLibraryWarning(UserWarning):
    """A native library is there and cannot be used."""


@dataclass(frozen=True)
class Library:
    """A native library of this installation.

    Attributes:
        path: of the file, if there is one.
        error: why it cannot be used, if it cannot.
        capability: the instruction set that its kernels use on this machine, if they are for CPUs.
    """

    path: Path | None
    error: str | None = None
    capability: str | None = None

    @property
    def loaded(self) -> bool:
        """Whether its kernels can be called."""
        return self.path is not None and self.error is None


@dataclass(frozen=True)
class NativeKernel:
    """A kernel of the library, under the signature of its operator.

    Attributes:
        run: called with the operator's arguments.
        refusal: called with the same; why the kernel does not take them, or ``None`` if it does.
    """

    run: Callable[..., Any]
    refusal: Callable[..., str | None]


@functools.cache
def library() -> Library:
    """Load the library for CPUs, once.

    Raises:
        UsageError: ADAIR_CPU_CAPABILITY names no instruction set.
    """
    return _load("_ops_cpu", lambda: Library(None, capability=torch.ops.adair_native.cpu_capability()))


@functools.cache
def cuda_library() -> Library:
    """Load the library for CUDA devices, once, and before it the one for CPUs, which defines the operators of both.

    Raises:
        UsageError: ADAIR_CPU_CAPABILITY names no instruction set.
    """
    if not library().loaded:
        found = _find("_ops_cuda")
        return Library(found, None if found is None else "the library of the CPU kernels, which it needs, is not there")
    return _load("_ops_cuda", lambda: Library(None))


def _find(name: str) -> Path | None:
    folder = Path(__file__).parent.parent
    return next(iter(sorted(path for suffix in _SUFFIXES for path in folder.glob(f"{name}*{suffix}"))), None)


def _load(name: str, describe: Callable[[], Library]) -> Library:
    path = _find(name)
    if path is None:
        return Library(None)
    stale = outdated(path.parent)
    if stale is not None:
        return _unusable(path, stale)
    try:
        torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
        return replace(describe(), path=path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    # Whatever a dynamic loader, a static initialiser or another version of PyTorch may raise.
    except Exception as error:
        reason = error.__cause__ or error  # PyTorch hides what the dynamic loader said
        return _unusable(path, f"{type(reason).__name__}: {reason}")


def outdated(folder: Path) -> str | None:
    """Why the native modules do not fit the sources beside them; ``None`` if they do, or if there is no telling.

    Args:
        folder: of the package ``adair_core``; an installed one has no C++ sources beside it.
    """
    try:
        module = runtime()
    except ImportError:
        return None
    if module is None:
        return None
    info, here = module.build_info(), built_from.of(folder.parent)
    for name, what in (("kernels", "C++ sources (csrc/)"), ("callers", "Python code that calls them")):
        if here[name] and info.get(name) != here[name]:
            return f"built with other {what}: digest {info.get(name, 'unknown')}, here it is {here[name]}"
    return None


def _unusable(path: Path, reason: str) -> Library:
    warnings.warn(
        f"the native kernels in {path} cannot be used ({reason}); the slower reference kernels run instead; "
        f"'make kernels' in a clone, or 'pip install .', builds them anew; 'adair doctor' says more",
        NativeLibraryWarning,
        stacklevel=5,
    )
    return Library(path, reason)


def refusal(kernel: NativeKernel | None, *arguments: Any, device: str = "cpu") -> str | None:
    """Why an operator would run its reference with these arguments; ``None`` if its native kernel would run.

    Args:
        kernel: the operator's for the device.
        arguments: of the operator.
        device: ``"cpu"`` or ``"cuda"``.
    """
    if kernel is None:
        return "there is no native kernel"
    if _switched_off:
        return _switched_off[-1]
    found = library() if device == "cpu" else cuda_library()
    if not found.loaded:
        which = "native library" if device == "cpu" else "native library for CUDA"
        return f"the {which} is not built" if found.path is None else f"the {which} cannot be used"
    return kernel.refusal(*arguments)


@contextlib.contextmanager
def references_only() -> Iterator[None]:
    """Run the references, as if there were no library: to compare with. It holds for all threads."""
    _switched_off.append("native kernels are switched off")
    try:
        yield
    finally:
        _switched_off.pop()


def switched_off() -> bool:
    """Whether `references_only` holds."""
    return bool(_switched_off)


def unsuitable(x: Tensor) -> str | None:
    """Why no native kernel takes this tensor; ``None`` if they do."""
    taken = (torch.float32, torch.bfloat16, *([torch.float16] if x.is_cuda else []))
    if x.dtype not in taken:
        names = [str(dtype).removeprefix("torch.") for dtype in (*taken, x.dtype)]
        return f"native kernels take {', '.join(names[:-2])} and {names[-2]}, not {names[-1]}"
    if x.numel() == 0:
        return "there is nothing to compute"
    return unfit(x.device.index) if x.is_cuda else None


def refuse(x: Tensor, *_: Any) -> str | None:
    """The refusal of an operator whose kernel takes every tensor that is suitable."""
    return unsuitable(x)


def refuse_backward(gradient: Tensor, x: Tensor, *_: Any) -> str | None:  # noqa: ARG001
    """Likewise of its backward pass."""
    return unsuitable(x)


def pixels(x: Tensor) -> Tensor:
    """The form in which kernels take images: ``(B, C, H, W)`` -> contiguous ``(B, H, W, C)``."""
    return x.permute(0, 2, 3, 1).contiguous()


def empty_pixels(x: Tensor, channels: int) -> Tensor:
    """A new tensor like `pixels` of `x`, with another number of channels."""
    batch, _, height, width = x.shape
    return x.new_empty((batch, height, width, channels))


def images(result: Tensor, layout: torch.memory_format) -> Tensor:
    """The form in which operators return images: contiguous ``(B, H, W, C)`` -> ``(B, C, H, W)`` in a layout."""
    return result.permute(0, 3, 1, 2).contiguous(memory_format=layout)


def dense(x: Tensor, layout: torch.memory_format) -> Tensor:
    """Images as they lie in memory: contiguous ``(B, H, W, C)`` if channels last, else contiguous ``(B, C, H, W)``."""
    return pixels(x) if layout == torch.channels_last else x.contiguous()


def empty_dense(x: Tensor, channels: int, layout: torch.memory_format) -> Tensor:
    """A new tensor like `dense` of `x`, with another number of channels."""
    batch, _, height, width = x.shape
    return empty_pixels(x, channels) if layout == torch.channels_last else x.new_empty((batch, channels, height, width))


def undense(result: Tensor, layout: torch.memory_format) -> Tensor:
    """Back from `dense` to ``(B, C, H, W)``, without a copy."""
    return images(result, layout) if layout == torch.channels_last else result


def parameter(value: Tensor | None) -> Tensor | None:
    """The form in which kernels take parameters: contiguous float32; those per image `stacked`, on CUDA devices."""
    if isinstance(value, PerImage):
        return stacked(value).to(torch.float32)
    if value is None or (value.dtype is torch.float32 and value.is_contiguous()):
        return value
    return value.to(torch.float32).contiguous()


def stacked(value: PerImage) -> Tensor:
    """A parameter for each image of a batch, one after the other: ``(B, ...)``, contiguous."""
    return torch.stack([own for own, count in zip(value.variants, value.counts, strict=True) for _ in range(count)])


def choices(value: Tensor | None) -> list[Tensor | None]:
    """The form in which kernels take parameters that may be per image: each value as `parameter` makes it."""
    values = value.variants if isinstance(value, PerImage) else () if value is None else (value,)
    return [parameter(each) for each in values]


def empty_gradients(parameters: Sequence[Tensor | None], needs: Sequence[bool]) -> list[Tensor | None]:
    """What kernels write the gradients of parameters to: float32; ``None`` where none is wanted."""
    return [
        value.new_empty(value.shape, dtype=torch.float32) if value is not None and need else None
        for value, need in zip(parameters, needs, strict=True)
    ]


def gradients(
    x: Tensor, to_x: Tensor | None, found: Sequence[Tensor | None], parameters: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """The form in which operators return gradients: in the dtype of what they are of; empty where there is none.

    Args:
        x: the images.
        to_x: their gradient, contiguous ``(B, H, W, C)``.
        found: from `empty_gradients`.
        parameters: in the same order.
    """
    return (
        x.new_empty(0) if to_x is None else images(to_x, memory_format(x)),
        *(
            x.new_empty(0) if value is None or like is None else value.to(like.dtype)
            for value, like in zip(found, parameters, strict=True)
        ),
    )
