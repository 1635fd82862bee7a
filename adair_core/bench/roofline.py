"""How fast this machine multiplies matrices and copies memory: no program on it is faster than both allow.

    seconds >= max(flops / GEMM rate, bytes / copy rate)

Source: Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model", CACM 52(4), 2009. The rates
are those of PyTorch's own products and copy, measured in the same run with the same threads and dtype. A product is a
matrix product or a 1x1 convolution, whichever is faster: PyTorch's libraries for the two may differ by a third.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

SIDE = 1536
COPIED = 2**27
REPEATS = 5


@dataclass(frozen=True)
class Roofline:
    """The rates of one dtype.

    Attributes:
        flops: floating-point operations a second of the fastest product.
        bytes: bytes a second of a copy, those read and those written.
    """

    flops: float
    bytes: float

    def seconds(self, flops: float, moved: float) -> float:
        """The least time for so many operations and so many bytes."""
        return max(flops / self.flops, moved / self.bytes)


def measure(dtype: torch.dtype, *, side: int = SIDE, copied: int = COPIED, repeats: int = REPEATS) -> Roofline:
    """Measure the rates.

    Args:
        dtype: of the matrices.
        side: of the square matrices.
        copied: bytes of the copy, far more than the caches hold.
        repeats: the fastest counts: a roof is what can be reached.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.ones(copied, dtype=torch.uint8)
    target = torch.empty_like(source)
    image, kernel = a.view(1, 1, *a.shape).permute(0, 3, 1, 2), b[:, :, None, None]
    multiplied = min(
        _fastest(lambda: torch.mm(a, b, out=product), repeats),
        _fastest(lambda: functional.conv2d(image, kernel), repeats),
    )
    moved = _fastest(lambda: target.copy_(source), repeats)
    return Roofline(2 * side**3 / multiplied, 2 * copied / moved)


def _fastest(function: Callable[[], object], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)
