"""The residual of a bottleneck adapter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops import registration
from adair_core.ops.bottleneck import native, reference
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.layout import autocast, memory_format


def bottleneck(
    x: Tensor,
    down_w: Tensor,
    down_b: Tensor | None,
    depthwise_w: Tensor,
    depthwise_b: Tensor | None,
    up_w: Tensor,
    up_b: Tensor | None,
    scale: Tensor,
    base: Tensor | None = None,
    injected: Tensor | None = None,
    *,
    residual: bool = False,
) -> Tensor:
    """Reduce the channels, look at the neighbours, and expand.

        y = scale * up(GELU(dw(down(x) (+ injected)))) (+ base) (+ x)

    down and up are 1x1 convolutions, dw is a depthwise 3x3 convolution with zero padding. Under autocast the input
    is cast like a convolution's.

    Args:
        x: ``(B, C, H, W)``, any strides.
        down_w: ``(r, C, 1, 1)``, in the dtype of `x` or wider, like all that follow (rounded to that of `x`).
        down_b: ``(r,)`` or ``None``.
        depthwise_w: ``(r, 1, 3, 3)``.
        depthwise_b: ``(r,)`` or ``None``.
        up_w: ``(C, r, 1, 1)``.
        up_b: ``(C,)`` or ``None``.
        scale: one element; multiplied into `up_w` and `up_b` before these are rounded.
        base: ``(B, C, H, W)``, what the residual is added to, rounded to the dtype of `x`.
        injected: ``(B, r, H, W)``, what is added inside, rounded to the dtype of `x`.
        residual: whether `x` is added.

    Returns:
        The sum, rounded once, ``(B, C, H, W)`` in the dtype of `x`; channels last if `x` is, else
        contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Source: the bottleneck adapter of arXiv 1902.00751, figure 2; see `reference`.
    """
    require_images("bottleneck", "x", x)
    channels, rank = x.shape[1], down_w.shape[0]
    require_shape("bottleneck", "down_w", down_w, (rank, channels, 1, 1))
    require_shape("bottleneck", "depthwise_w", depthwise_w, (rank, 1, 3, 3))
    require_shape("bottleneck", "up_w", up_w, (channels, rank, 1, 1))
    for name, bias, size in (("down_b", down_b, rank), ("depthwise_b", depthwise_b, rank), ("up_b", up_b, channels)):
        if bias is not None:
            require_shape("bottleneck", name, bias, (size,))
    if scale.numel() != 1:
        raise UsageError(expected("bottleneck: scale", expected="one element", got=f"shape {tuple(scale.shape)}"))
    if base is not None:
        require_shape("bottleneck", "base", base, tuple(x.shape))
    if injected is not None:
        require_shape("bottleneck", "injected", injected, (x.shape[0], rank, *x.shape[2:]))
    if base is x and not residual:  # to be read once
        base, residual = None, True
    x = autocast(x)
    base = None if base is None else base.to(x.dtype)
    injected = None if injected is None else injected.to(x.dtype)
    result: Tensor = _forward(x, down_w, down_b, depthwise_w, depthwise_b, up_w, up_b, scale, base, injected, residual)
    return result


def _fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=memory_format(x))


def _fake_backward(gradient: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    *parameters, injected, needs_x, _residual = arguments
    layout = memory_format(x)
    to_x = torch.empty_like(x, memory_format=layout) if needs_x else x.new_empty(0)
    return (
        to_x,
        *(x.new_empty(0) if value is None else value.new_empty(value.shape) for value in parameters),
        x.new_empty(0) if injected is None else torch.empty_like(injected, memory_format=layout),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.residual = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    inputs, needs = ctx.saved_tensors, ctx.needs_input_grad
    if torch.is_grad_enabled():
        return registration.reference_gradients(reference.bottleneck, (*inputs, ctx.residual), gradient, needs)
    *own, _, injected = inputs
    *to_own, to_injected = _backward(gradient, *own, injected, needs[0], ctx.residual)
    gradients = (*to_own, gradient, to_injected, None)
    return tuple(value if need else None for value, need in zip(gradients, needs, strict=True))


_PARAMETERS = (
    "Tensor down_weight, Tensor? down_bias, Tensor depthwise_weight, Tensor? depthwise_bias, Tensor up_weight,"
    " Tensor? up_bias, Tensor scale"
)
_forward = registration.define(
    f"bottleneck(Tensor x, {_PARAMETERS}, Tensor? base, Tensor? injected, bool residual) -> Tensor",
    reference=reference.bottleneck,
    fake=_fake,
    native=native.FORWARD,
    cuda=native.FORWARD,
)
_backward = registration.define(
    f"bottleneck_backward(Tensor gradient, Tensor x, {_PARAMETERS}, Tensor? injected, bool needs_x, bool residual)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference.bottleneck_backward,
    fake=_fake_backward,
    native=native.BACKWARD,
    cuda=native.BACKWARD,
)
registration.define_gradient("bottleneck", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("bottleneck_backward")
