"""Products of pixels with a matrix, by whichever of the library's two ways is faster on this CPU.

PyTorch multiplies float32 matrices by MKL and convolves by oneDNN. On an Intel CPU (Sapphire Rapids, 2 threads) MKL is
as fast or faster. On an AMD one (Zen 4, 2 threads) MKL shares large products badly between threads: from 384 to 2042
channels it reaches 111 GFLOP/s for 32 x 32 pixels where oneDNN reaches 183, 103 of 149 for 16 x 16, 91 of 121 for
16 x 8; for fewer pixels, and with one thread, they are equal. Backwards oneDNN is 1.14 to 1.55 times as fast for
32 x 32 pixels, but 0.8 to 0.96 times for 16 x 16, as it lays out the transposed weights first.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.cpu import cpu_vendor

FEWEST_PIXELS, FEWEST_PIXELS_BACKWARD = 128, 1024
"""From which on a product on AMD's CPUs is a convolution, in float32."""


def multiply(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``x matrix^T + bias``.

    Args:
        x: ``(B, H, W, I)``, contiguous.
        matrix: ``(O, I)``.
        bias: ``(O,)``.

    Returns:
        ``(B, H, W, O)``, contiguous.
    """
    if not convolves(x, FEWEST_PIXELS):
        return functional.linear(x, matrix, bias)
    return _convolve(x, matrix, bias)


def multiply_backward(gradient: Tensor, matrix: Tensor) -> Tensor:
    """The gradient of `multiply` with respect to x, ``(B, H, W, I)``, from that of its result, ``(B, H, W, O)``."""
    if not convolves(gradient, FEWEST_PIXELS_BACKWARD):
        return gradient @ matrix
    return _convolve(gradient, matrix.t(), None)


def convolves(x: Tensor, fewest: int) -> bool:
    """Whether a product with pixels ``(B, H, W, I)`` is computed as a convolution, if they are `fewest` or more."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.shape[:3].numel() >= fewest and _onednn_is_faster()


@cache
def _onednn_is_faster() -> bool:
    both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return cpu_vendor() == "AuthenticAMD" and both


def _convolve(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    images = functional.conv2d(x.permute(0, 3, 1, 2), matrix[:, :, None, None], bias)
    return images.permute(0, 2, 3, 1).contiguous()
