"""The native kernels of a weight with a low-rank update (csrc/low_rank_weight): for CUDA devices alone.

On a CPU PyTorch's matrix product leaves nothing to gain; on a GPU the reference is six launches where one will do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.ops.native import NativeKernel, unsuitable


def _forward(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    result = weight.new_empty(weight.shape)
    torch.ops.adair_native.low_rank_weight(_matrix(weight), *_factors(a, b), scale, _matrix(result))
    return result


def _backward(gradient: Tensor, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    factors = _factors(a, b)
    to_a, to_b = (torch.empty_like(factor) for factor in factors)
    torch.ops.adair_native.low_rank_weight_backward(_matrix(gradient), *factors, scale, to_a, to_b)
    return to_a.view(a.shape).to(a.dtype), to_b.view(b.shape).to(b.dtype)


def _matrix(value: Tensor) -> Tensor:
    return value.contiguous().flatten(1)


def _factors(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return _matrix(a.to(torch.float32)), _matrix(b.to(torch.float32))


def _refusal(weight: Tensor, a: Tensor, *_: Any) -> str | None:
    return unsuitable(weight) or ("there is nothing to compute" if a.numel() == 0 else None)


FORWARD = NativeKernel(_forward, _refusal)
BACKWARD = NativeKernel(_backward, _refusal)
