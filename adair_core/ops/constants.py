"""Numbers on a device, such as the places of adapters: made there, and kept.

A tensor of Python's numbers would be copied from the host, which waits for the device, and no CUDA graph can hold that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from adair_core.derived import is_watched

KEPT = 256


def constants(values: Sequence[float], device: torch.device, dtype: torch.dtype = torch.int64) -> Tensor:
    """Make a tensor of a few numbers, or return the one of an earlier call; nobody may write to it.

    Args:
        values: n numbers.
        device: where they should be.
        dtype: of the result.

    Returns:
        ``(n,)``.
    """
    make = _make if is_watched(device) else _keep
    return make(tuple(values), device, dtype)


def _make(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    # A fill gets its number with the launch.
    runs = [torch.full((len(list(run)),), value, dtype=dtype, device=device) for value, run in groupby(values)]
    return torch.cat(runs) if runs else torch.empty(0, dtype=dtype, device=device)


@functools.lru_cache(maxsize=KEPT)
def _keep(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    # Tensors of inference mode could not take part in anything outside of it.
    with torch.inference_mode(False), torch.no_grad():
        return _make(values, device, dtype)
