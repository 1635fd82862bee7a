"""Memory formats and dtypes that the operators share."""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.ops.transforms import is_decomposing


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format that results computed from `x` have: channels last if `x` is, else contiguous."""
    # vmap does not tell another one, and other programs' formats know none.
    if torch._C._are_functorch_transforms_active() or is_decomposing():
        return torch.contiguous_format
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """The dtype of statistics and sums: float64 for float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def autocast(x: Tensor) -> Tensor:
    """Cast `x` as autocast casts the input of a convolution; without autocast, and for float64, `x` itself."""
    device = x.device.type
    if x.dtype != torch.float64 and torch.is_autocast_enabled(device):
        return x.to(torch.get_autocast_dtype(device))
    return x
