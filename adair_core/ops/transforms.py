"""Operators under the transforms of PyTorch: `torch.func`, and differentiation in forward mode.

Operators have a rule for ``vmap`` and for gradients, and no others: PyTorch would lose the tangents of forward mode
without a word, and refuse `torch.func.grad`. There, the reference runs, whose operations have all rules.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_decomposing = False


@contextlib.contextmanager
def decomposed() -> Iterator[None]:
    """Let operators be the plain operations of their references, contiguous: to export to what knows no others.

    It holds for all threads. `torch.export` and `torch.jit` record those operations.
    """
    global _decomposing
    before, _decomposing = _decomposing, True
    try:
        yield
    finally:
        _decomposing = before


def is_decomposing() -> bool:
    """Whether `decomposed` holds."""
    return _decomposing


def need_reference(arguments: Sequence[Any]) -> bool:
    """Whether a call with these arguments is transformed in a way that operators have no rule for, or decomposed."""
    if _decomposing:
        return True
    if torch._C._are_functorch_transforms_active():
        # The compiler knows no more than that.
        return torch.compiler.is_compiling() or not _only_vmap()
    return not torch.compiler.is_compiling() and _has_tangents(arguments)


def _only_vmap() -> bool:
    levels = torch._C._functorch.get_interpreter_stack() or ()
    return all(level.key() == torch._C._functorch.TransformType.Vmap for level in levels)


def one_by_one(operator: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of an operator for ``vmap``: its results for one element after the other, stacked."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        found = []
        for place in range(info.batch_size):
            chosen = [
                value if dim is None else value.select(dim, place)
                for value, dim in zip(arguments, in_dims, strict=True)
            ]
            found.append(operator(*chosen))
        if isinstance(found[0], Tensor):
            return torch.stack(found), 0
        return tuple(map(torch.stack, zip(*found, strict=True))), (0,) * len(found[0])

    return rule


def refuse_tangents(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Make the gradient kernel of an operator an error in forward mode: called by compiled code, or past its function.

    Args:
        name: of the operator.
        kernel: takes a set of dispatch keys before the operator's arguments.
    """

    @functools.wraps(kernel)
    def guarded(keyset: Any, *arguments: Any, **named: Any) -> Any:
        if _has_tangents(arguments):
            raise RuntimeError(
                f"{name} has no derivative in forward mode: expected a call of the public function, which takes its "
                f"reference there, got one of the operator itself"
            )
        return kernel(keyset, *arguments, **named)

    return guarded


def _has_tangents(arguments: Sequence[Any]) -> bool:
    if forward_ad._current_level < 0:
        return False
    unpacked: Callable[[Tensor], forward_ad.UnpackedDualTensor] = forward_ad.unpack_dual
    return any(unpacked(value).tangent is not None for value in arguments if isinstance(value, Tensor))
