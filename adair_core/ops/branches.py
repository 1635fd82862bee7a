"""Branches of transformer blocks whose images may differ in parameters, and may have adapters at their end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from adair_core.ops.epilogue import BottleneckParameters, Epilogue
from adair_core.ops.keeping import keeps
from adair_core.ops.layout import autocast, memory_format
from adair_core.ops.native import NativeKernel, choices, parameter, refusal
from adair_core.ops.per_image import NotPerImageError, PerImage, counts_of, shares, varies

_NOTHING = torch.empty(0)


class BranchKernels(Protocol):
    """The module ``native.py`` of a branch."""

    FORWARD: NativeKernel

    def composes(self, x: Tensor) -> bool:
        """Whether the library's matrix products serve `x` better than the kernel."""

    def forward_sets(self, x: Tensor, sets: Sets, eps: float, residual: bool) -> Tensor:
        """Compute the branch of images that may differ in parameters, and what is added to it; without gradients."""


def run_branch(
    forward: Callable[..., tuple[Tensor, ...]],
    kernels: BranchKernels,
    on_device: NativeKernel,
    x: Tensor,
    parameters: Sequence[Tensor | None],
    eps: float,
    residual: bool,
    epilogue: Epilogue | None,
) -> Tensor:
    """Compute a branch in as few calls as can be.

    Args:
        forward: its operator, whose first result is the branch.
        kernels: its native kernels for CPUs.
        on_device: that for CUDA devices, whose parameters may be `PerImage` where nothing is kept for a backward pass.
        x: ``(B, C, H, W)``.
        parameters: of the branch, some of them perhaps `PerImage`.
        eps: added to the variance.
        residual: whether x is added.
        epilogue: what else is added.

    Raises:
        NotPerImageError: `x` is not the batch that the parameters or adapters are for.
    """
    different = varies(parameters)
    if not different and epilogue is None:
        return forward(autocast(x), *parameters, eps, residual, keeps(x, *parameters))[0]
    x = autocast(x)
    if _fuses(x, kernels.FORWARD) and (different or not kernels.composes(x)):
        return kernels.forward_sets(x, sets_of(x, parameters, epilogue), eps, residual)
    alone = residual and epilogue is None
    if different and _fuses(x, on_device, "cuda"):
        counts_of(x, parameters)
        parts = [on_device.run(x, *parameters, eps, alone, False)[0]]
    else:
        parts = [
            forward(share, *own, eps, alone, keeps(share, *own))[0]
            for share, own in (shares(x, parameters) if different else [(x, list(parameters))])
        ]
    output = parts[0] if len(parts) == 1 else torch.cat(parts).contiguous(memory_format=memory_format(x))
    return output if epilogue is None else epilogue.add_to(output, x if residual else None)


def _fuses(x: Tensor, kernel: NativeKernel, device: str = "cpu") -> bool:
    # The kernel is called as it is: where nothing is differentiated or traced.
    return (
        type(x) is Tensor
        and x.device.type == device
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and refusal(kernel, x, device=device) is None
    )


def gathered(kind: type[NamedTuple], function: Callable[..., Any], *, after: int) -> Callable[..., Any]:
    """Call a function that takes a branch's parameters as one with the operator's arguments, which are flat.

    Args:
        kind: of the parameters.
        function: called with the arguments before them, the parameters, the arguments behind them.
        after: how many arguments stand before the parameters.
    """
    end = after + len(kind._fields)

    def call(*arguments: Any) -> Any:
        return function(*arguments[:after], kind._make(arguments[after:end]), *arguments[end:])

    return call


@dataclass(frozen=True)
class Sets:
    """What a branch's kernel takes of a batch: sets of parameters, and how many images have each.

    Attributes:
        counts: of each set.
        parameters: of the branch, each with a value for all sets, or one for each, or none.
        epilogue: seven values for each set, or for all, or none; empty tensors for what is absent.
    """

    counts: list[int]
    parameters: list[list[Tensor | None]]
    epilogue: list[Tensor]


def sets_of(x: Tensor, parameters: Sequence[Tensor | None], epilogue: Epilogue | None) -> Sets:
    """Lay the parameters of a branch and its epilogue side by side.

    Args:
        x: ``(B, ...)``.
        parameters: of the branch, some of them perhaps `PerImage`.
        epilogue: what is added.

    Raises:
        NotPerImageError: `x` is not the batch that they are for.
    """
    given = {value.counts for value in parameters if isinstance(value, PerImage)}
    adapters = epilogue.adapters if epilogue is not None else ()
    own = epilogue.counts if epilogue is not None else ()
    if own:
        given.add(own)
    if any(sum(counts) != len(x) for counts in given):
        raise NotPerImageError(f"a batch of {len(x)} with parameters for {sorted(given)} images")
    lists = [choices(value) for value in parameters]
    if len(given) < 2:
        counts = list(next(iter(given), (len(x),)))
    else:
        ends = sorted({end for counts in given for end in accumulate(counts)} - {0})
        starts = [0, *ends[:-1]]
        counts = [end - start for start, end in zip(starts, ends, strict=True)]
        lists = [
            [values[_place(value.counts, start)] for start in starts] if isinstance(value, PerImage) else values
            for value, values in zip(parameters, lists, strict=True)
        ]
        if own:
            adapters = tuple(adapters[_place(own, start)] for start in starts)
    return Sets(counts, lists, [value for each in adapters for value in _flat(each)])


def _place(counts: Sequence[int], image: int) -> int:
    """The place of what an image has, where the first ones have the first."""
    return bisect_right(list(accumulate(counts)), image)


def _flat(own: BottleneckParameters | None) -> list[Tensor]:
    made = map(parameter, own) if own is not None else (None,) * 7
    return [_NOTHING if value is None else value for value in made]
