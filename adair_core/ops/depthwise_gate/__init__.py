"""Depthwise convolution and GELU gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops import registration
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.depthwise_gate import reference
from adair_core.ops.layout import autocast, memory_format


def depthwise_gate(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve each channel, then gate one half of the channels with the other.

    y = GELU(dw(x)[:, :h]) * dw(x)[:, h:], dw a depthwise 3x3 convolution with zero padding. Under autocast the
    input is cast like a convolution's.

    Args:
        x: ``(B, 2h, H, W)``, any strides.
        weight: ``(2h, 1, 3, 3)``, in the dtype of `x` or wider (rounded to that of `x`).
        bias: ``(2h,)`` or ``None``.

    Returns:
        ``(B, h, H, W)`` in the dtype of `x`; channels last if `x` is, else contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Source: Restormer, arXiv 2111.09881, eq. 3; see `reference`.
    """
    require_images("depthwise_gate", "x", x)
    channels = x.shape[1]
    if channels % 2:
        raise UsageError(expected("depthwise_gate: channels of x", expected="an even number", got=channels))
    require_shape("depthwise_gate", "weight", weight, (channels, 1, 3, 3))
    if bias is not None:
        require_shape("depthwise_gate", "bias", bias, (channels,))
    result: Tensor = _forward(autocast(x), weight, bias)
    return result


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001
    batch, channels, height, width = x.shape
    return torch.empty(
        (batch, channels // 2, height, width), dtype=x.dtype, device=x.device, memory_format=memory_format(x)
    )


def _fake_backward(
    gradient: Tensor,  # noqa: ARG001
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,  # noqa: ARG001
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=memory_format(x)) if needs[0] else x.new_empty(0),
        weight.new_empty(weight.shape) if needs[1] else weight.new_empty(0),
        weight.new_empty(weight.shape[0]) if needs[2] else weight.new_empty(0),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    inputs, needs = ctx.saved_tensors, ctx.needs_input_grad
    if torch.is_grad_enabled():
        return registration.reference_gradients(reference.depthwise_gate, inputs, gradient, needs)
    gradients = _backward(gradient, *inputs, list(needs))
    return tuple(value if need else None for value, need in zip(gradients, needs, strict=True))


_forward = registration.define(
    "depthwise_gate(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    reference=reference.depthwise_gate,
    fake=_fake,
)
_backward = registration.define(
    "depthwise_gate_backward(Tensor gradient, Tensor x, Tensor weight, Tensor? bias, bool[] needs)"
    " -> (Tensor, Tensor, Tensor)",
    reference=reference.depthwise_gate_backward,
    fake=_fake_backward,
)
registration.define_gradient("depthwise_gate", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("depthwise_gate_backward")
