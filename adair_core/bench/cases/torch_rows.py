"""The competitors that every computation has: PyTorch, eager and compiled, in both memory formats."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adair_core.bench.case import (
    COMPILED,
    COMPILED_LAST,
    EAGER,
    EAGER_LAST,
    OURS,
    REFERENCES,
    WHOLE,
    WHOLE_LAST,
    Precision,
    Row,
    Run,
    arithmetic,
    channels_last,
)
from adair_core.bench.plain import TransformerBlock
from adair_core.ops.native import references_only

Function = Callable[..., Tensor]
Timed = Callable[[Function, Sequence[Any]], Run]
"""From a function or a network and its arguments to what is timed: inference, or a step forward and backward."""


def torch_rows(plain: Function, arguments: Sequence[Any], timed: Timed) -> dict[str, Row]:
    """Let PyTorch compute `plain` in its ways.

    A network of several blocks is compiled block by block, as PyTorch advises for repeated blocks ("regional
    compilation"): blocks of one shape then share one program. Compiling it as a whole takes minutes, and is optional.

    Args:
        plain: a function, or a network, of which every row gets a copy.
        arguments: tensors first among them; channels last converts images and weights of convolutions.
        timed: what is timed.
    """

    def row(make_ready: Callable[[Function], Function], *, last: bool) -> Row:
        def build() -> Run:
            function = copy.deepcopy(plain) if isinstance(plain, nn.Module) else plain
            if last and isinstance(function, nn.Module):
                function.to(memory_format=torch.channels_last)
            given = [channels_last(value) if last and isinstance(value, Tensor) else value for value in arguments]
            return timed(make_ready(function), given)

        return build

    rows = {
        EAGER: row(lambda function: function, last=False),
        EAGER_LAST: row(lambda function: function, last=True),
        COMPILED: row(_compiled, last=False),
        COMPILED_LAST: row(_compiled, last=True),
    }
    if _blocks(plain):
        rows |= {WHOLE: row(_compiled_whole, last=False), WHOLE_LAST: row(_compiled_whole, last=True)}
    return rows


def _blocks(function: Function) -> list[nn.Module]:
    """The blocks inside a network; none for a function and for a block itself."""
    if not isinstance(function, nn.Module):
        return []
    return [part for part in function.modules() if isinstance(part, TransformerBlock) and part is not function]


def _compiled(function: Function) -> Function:
    blocks = _blocks(function)
    if not blocks:
        return _compiled_whole(function)
    for block in blocks:
        block.compile(dynamic=False)
    return function


def _compiled_whole(function: Function) -> Function:
    # Sizes are fixed: a program for these very sizes is what a user who wants speed compiles.
    result: Function = torch.compile(function, dynamic=False)
    return result


def our_rows(ours: Function, arguments: Sequence[Any], timed: Timed) -> dict[str, Row]:
    """Let adair compute: with native kernels, and with the references alone. Images are in channels last."""
    given = [
        channels_last(value) if isinstance(value, Tensor) and index == 0 else value
        for index, value in enumerate(arguments)
    ]

    def references() -> Run:
        run = timed(ours, given)

        def without_kernels() -> Tensor:
            with references_only():
                return run()

        return without_kernels

    return {OURS: lambda: timed(ours, given), REFERENCES: references}


def inference(precision: Precision) -> Timed:
    """Time one forward pass without gradients."""

    def timed(function: Function, arguments: Sequence[Any]) -> Run:
        def run() -> Tensor:
            with torch.no_grad(), arithmetic(precision):
                return function(*arguments)

        return run

    return timed


def forward_and_backward(precision: Precision, needs: Sequence[int] = (0,)) -> Timed:
    """Time a forward pass and its backward pass.

    Args:
        precision: of both.
        needs: which arguments get a gradient; the others, and all parameters of networks, are frozen.
    """

    def timed(function: Function, arguments: Sequence[Any]) -> Run:
        # A leaf each: detach keeps the strides.
        given = [value.detach() if isinstance(value, Tensor) else value for value in arguments]
        wanted = [given[index].requires_grad_() for index in needs]
        seeds: list[Tensor] = []

        def run() -> Tensor:
            with arithmetic(precision):
                output = function(*given)
            if not seeds:
                seeds.append(gradient_like(output))
            for value in wanted:
                value.grad = None
            output.backward(seeds[0])  # type: ignore[no-untyped-call]
            found = [value.grad for value in wanted if value.grad is not None]
            return found[0] if len(found) == 1 else torch.cat([value.flatten() for value in found])

        return run

    return timed


def gradient_like(output: Tensor) -> Tensor:
    """A gradient of the size, layout and dtype of an output: the same numbers whatever the layout."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    return torch.empty_like(output).copy_(values).detach()
