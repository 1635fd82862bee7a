"""What the public functions require of their arguments."""

from __future__ import annotations

from torch import Tensor

from adair_core.errors import UsageError, expected


def require_images(operator: str, name: str, value: Tensor) -> None:
    """Require a floating-point tensor of shape ``(B, C, H, W)`` with C, H, W >= 1; the batch may be empty.

    Raises:
        UsageError: it is not.
    """
    if value.dim() != 4 or not value.is_floating_point() or 0 in value.shape[1:]:
        wanted = "a floating-point tensor (B, C, H, W) with C, H, W >= 1"
        got = f"shape {tuple(value.shape)} of {value.dtype}"
        raise UsageError(expected(f"{operator}: {name}", expected=wanted, got=got))


def require_shape(operator: str, name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Require a shape.

    Raises:
        UsageError: it is another one.
    """
    if value.shape != shape:
        raise UsageError(expected(f"{operator}: {name}", expected=f"shape {shape}", got=tuple(value.shape)))
