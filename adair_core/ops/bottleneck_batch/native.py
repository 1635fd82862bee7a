"""The native kernels of a batch of bottlenecks: those of one, with an index."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from adair_core.ops.bottleneck.native import backward_refusal, differentiate_stack, refusal, run_stack
from adair_core.ops.bottleneck_batch.reference import require_index
from adair_core.ops.native import NativeKernel


def _forward(x: Tensor, *arguments: Any) -> Tensor:
    *stack, scale, index, base, injected, residual = arguments
    # To look at values on a CUDA device would wait for it; there the kernel gives NaN for what is no adapter.
    if not index.is_cuda:
        require_index(index, len(scale))
    return run_stack(x, index, tuple(stack), scale, base, injected, residual)


def _backward(gradient: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *stack, scale, index, _, needs_x, residual = arguments
    return *differentiate_stack(gradient, x, index, tuple(stack), scale, needs_x, residual), x.new_empty(0)


FORWARD = NativeKernel(_forward, refusal)
BACKWARD = NativeKernel(_backward, backward_refusal)
