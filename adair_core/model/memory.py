"""How large an image a network can take at once, measured on a small one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BUDGET = 2 * 1024**3
"""Bytes that restoring may take beside the image and the weights. Fixed, not read from the machine: what else is
running must not change how an image is cut, and so its bits."""

HIDDEN = 2
"""Convolutions also copy what they read into layouts of their own, which the dispatcher does not see. On a CPU in
float32, the process grew by 1.5 (nafnet width32), 1.6 (restormer paper), 1.8 (nafnet tiny) and 1.9 (restormer tiny)
times the tensors of one pass."""

PADDED = 2 * 16 * 4
"""Bytes for each pixel that a convolution takes at least, for what it reads and what it makes: of few channels, the
layouts make 16. One convolution of three channels took 130 bytes a pixel."""

PROBE = 64
"""Side of the small image."""


CountPixels = Callable[[Callable[[Tensor], Tensor], Tensor], int]
"""`affordable_pixels`, or what gives the same."""


def affordable_pixels(network: Callable[[Tensor], Tensor], images: Tensor) -> int:
    """Count the pixels that a network can work on at once within `BUDGET`.

    The same for the same network, whatever is free on the machine.

    Args:
        network: ``(B, C, h, w)`` to the same shape; run without gradients.
        images: ``(B, C, H, W)``, for channels, type and device; a network that pads its input is found to need more
            than it does, never less.
    """
    return pixels_within_budget(probed(network, images))


def pixels_within_budget(peak: int) -> int:
    """Count the pixels that a network can work on at once within `BUDGET`.

    Args:
        peak: what it takes for the small image, from `probed`.
    """
    pixels = PROBE * PROBE
    return max(1, BUDGET * pixels // max(HIDDEN * peak, peak + PADDED * pixels))


def probed(network: Callable[[Tensor], Tensor], images: Tensor) -> int:
    """Measure how many bytes a network's tensors take at the same time, at most, for an image of side `PROBE`.

    Args:
        network: see `affordable_pixels`.
        images: see `affordable_pixels`.
    """
    allocations = _Allocations()
    probe = images.new_zeros(1, images.shape[1], PROBE, PROBE)
    with torch.no_grad():
        # What the first pass makes and keeps, such as folded adapters, does not grow with the image.
        network(probe)
        with allocations:
            network(probe)
    return allocations.peak


class _Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages of the tensors that operators return, for as long as they live.

    Attributes:
        peak: bytes of those that lived at the same time, at most.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._add(value.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        # Views share a storage, which counts once.
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            self._live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self._live += size
        self.peak = max(self.peak, self._live)
