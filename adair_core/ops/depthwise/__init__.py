"""Depthwise convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.ops import registration
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.depthwise import native, reference
from adair_core.ops.layout import autocast, memory_format
from adair_core.ops.per_image import in_shares, varies


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve each channel with 3x3 taps of its own, stride 1, zero padding.

    Under autocast the input is cast like a convolution's. Parameters may be `PerImage`. A frozen weight keeps no input
    for the backward pass.

    Args:
        x: ``(B, C, H, W)``, any strides.
        weight: ``(C, 1, 3, 3)``, in the dtype of `x` or wider (rounded to that of `x`).
        bias: ``(C,)`` or ``None``, likewise.

    Returns:
        ``(B, C, H, W)`` in the dtype of `x`; channels last if `x` is, else contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Example:
        >>> import torch
        >>> taps = torch.zeros(2, 1, 3, 3)
        >>> taps[:, :, 1, 0] = 1  # the pixel to the left
        >>> depthwise(torch.arange(6.0).view(1, 2, 1, 3), taps)
        tensor([[[[0., 0., 1.]],
        <BLANKLINE>
                 [[0., 3., 4.]]]])
    """
    require_images("depthwise", "x", x)
    channels = x.shape[1]
    require_shape("depthwise", "weight", weight, (channels, 1, 3, 3))
    if bias is not None:
        require_shape("depthwise", "bias", bias, (channels,))
    if varies((weight, bias)):
        return in_shares(depthwise, x, (weight, bias))
    result: Tensor = _forward(autocast(x), weight, bias)
    return result


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x, memory_format=memory_format(x))


def _fake_backward(
    gradient: Tensor,
    x: Tensor | None,  # noqa: ARG001
    weight: Tensor,
    channels_last: bool,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return (
        torch.empty_like(gradient, memory_format=layout) if needs[0] else gradient.new_empty(0),
        weight.new_empty(weight.shape) if needs[1] else weight.new_empty(0),
        weight.new_empty(weight.shape[0]) if needs[2] else weight.new_empty(0),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, weight, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.channels_last = memory_format(x) == torch.channels_last
    ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)


def _differentiate(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return None, None, None
    x, weight = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:3])
    # The reference's steps can be differentiated again.
    backward = reference.depthwise_backward if torch.is_grad_enabled() else _backward
    gradients = backward(gradient, x, weight, ctx.channels_last, needs)
    return tuple(value if need else None for value, need in zip(gradients, needs, strict=True))


_forward = registration.define(
    "depthwise(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    reference=reference.depthwise,
    fake=_fake,
    native=native.FORWARD,
    cuda=native.FORWARD,
)
_backward = registration.define(
    "depthwise_backward(Tensor gradient, Tensor? x, Tensor weight, bool channels_last, bool[] needs)"
    " -> (Tensor, Tensor, Tensor)",
    reference=reference.depthwise_backward,
    fake=_fake_backward,
    native=native.BACKWARD,
    cuda=native.BACKWARD,
)
registration.define_gradient("depthwise", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("depthwise_backward")
