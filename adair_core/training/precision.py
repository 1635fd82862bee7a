"""The number formats that a run computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from adair_core.errors import UsageError, expected

_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Precision:
    """Where the weights are kept and where the network computes.

    ``bfloat16`` and ``float16`` are mixed precision: float32 weights, autocast in the network, and for float16 a
    scaled loss. ``float32`` and ``float64`` are used throughout.

    Args:
        name: one of the four.
        device: that the network is on.

    Raises:
        UsageError: the device has no such numbers.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        compute = _DTYPES[name]
        if compute is torch.float64 and device.type == "mps":
            raise UsageError(expected("precision", expected="float32, or another device than mps", got=name))
        mixed = compute in (torch.bfloat16, torch.float16)
        self.weights: torch.dtype = torch.float32 if mixed else compute
        self._autocast = (device.type, compute) if mixed else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=compute is torch.float16)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that the network runs in."""
        if self._autocast is None:
            return nullcontext()
        device, dtype = self._autocast
        return torch.autocast(device, dtype)
