"""Bottleneck adapters of a batch in which each image has its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops import registration
from adair_core.ops.bottleneck_batch import native, reference
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.layout import autocast, memory_format


def bottleneck_batch(
    x: Tensor,
    down_w: Tensor,
    down_b: Tensor | None,
    depthwise_w: Tensor,
    depthwise_b: Tensor | None,
    up_w: Tensor,
    up_b: Tensor | None,
    scale: Tensor,
    index: Tensor,
    base: Tensor | None = None,
    injected: Tensor | None = None,
    *,
    residual: bool = False,
) -> Tensor:
    """Compute `bottleneck`, of another adapter for each image.

    Args:
        x: ``(B, C, H, W)``, any strides.
        down_w: ``(K, r, C, 1, 1)``: K adapters, stacked, like all that follow; dtypes as in `bottleneck`.
        down_b: ``(K, r)`` or ``None``.
        depthwise_w: ``(K, r, 1, 3, 3)``.
        depthwise_b: ``(K, r)`` or ``None``.
        up_w: ``(K, C, r, 1, 1)``.
        up_b: ``(K, C)`` or ``None``.
        scale: ``(K,)``.
        index: ``(B,)`` int64, the adapter of each image, from 0 to K - 1; -1 is none, which makes nothing of x. It
            may be on the host, but is then copied, which no CUDA graph can hold. On a CUDA device other values are not
            noticed before they are used: their images become NaN.
        base: ``(B, C, H, W)``, what is added, rounded to the dtype of `x`.
        injected: ``(B, r, H, W)``, what is added inside, rounded to the dtype of `x`.
        residual: whether `x` is added.

    Returns:
        The sums, rounded once, ``(B, C, H, W)`` in the dtype of `x`; channels last if `x` is, else
        contiguous.

    Raises:
        UsageError: the shapes do not fit together, or an index is out of range.

    Source: see `bottleneck`.
    """
    name = "bottleneck_batch"
    require_images(name, "x", x)
    if down_w.dim() != 5:
        got = f"shape {tuple(down_w.shape)}"
        raise UsageError(expected(f"{name}: down_w", expected="five dimensions (K, r, C, 1, 1)", got=got))
    channels, (adapters, rank) = x.shape[1], down_w.shape[:2]
    require_shape(name, "down_w", down_w, (adapters, rank, channels, 1, 1))
    require_shape(name, "depthwise_w", depthwise_w, (adapters, rank, 1, 3, 3))
    require_shape(name, "up_w", up_w, (adapters, channels, rank, 1, 1))
    for bias_name, bias, size in (
        ("down_b", down_b, rank),
        ("depthwise_b", depthwise_b, rank),
        ("up_b", up_b, channels),
    ):
        if bias is not None:
            require_shape(name, bias_name, bias, (adapters, size))
    require_shape(name, "scale", scale, (adapters,))
    require_shape(name, "index", index, (x.shape[0],))
    if index.dtype != torch.int64:
        raise UsageError(expected(f"{name}: index", expected="int64", got=index.dtype))
    if base is not None:
        require_shape(name, "base", base, tuple(x.shape))
    if injected is not None:
        require_shape(name, "injected", injected, (x.shape[0], rank, *x.shape[2:]))
    if base is x and not residual:  # to be read once
        base, residual = None, True
    x = autocast(x)
    base = None if base is None else base.to(x.dtype)
    injected = None if injected is None else injected.to(x.dtype)
    parameters = (down_w, down_b, depthwise_w, depthwise_b, up_w, up_b, scale)
    result: Tensor = _forward(x, *parameters, index, base, injected, residual)
    return result


def _fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=memory_format(x))


def _fake_backward(gradient: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    *parameters, _index, injected, needs_x, _residual = arguments
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
        given = (*inputs, ctx.residual)
        return registration.reference_gradients(reference.bottleneck_batch, given, gradient, needs)
    *own, _, injected = inputs
    *to_own, to_injected = _backward(gradient, *own, injected, needs[0], ctx.residual)
    gradients = (*to_own, None, gradient, to_injected, None)
    return tuple(value if need else None for value, need in zip(gradients, needs, strict=True))


_PARAMETERS = (
    "Tensor down_weight, Tensor? down_bias, Tensor depthwise_weight, Tensor? depthwise_bias, Tensor up_weight,"
    " Tensor? up_bias, Tensor scale, Tensor index"
)
_forward = registration.define(
    f"bottleneck_batch(Tensor x, {_PARAMETERS}, Tensor? base, Tensor? injected, bool residual) -> Tensor",
    reference=reference.bottleneck_batch,
    fake=_fake,
    native=native.FORWARD,
    cuda=native.FORWARD,
)
_backward = registration.define(
    f"bottleneck_batch_backward(Tensor gradient, Tensor x, {_PARAMETERS}, Tensor? injected, bool needs_x,"
    " bool residual) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference.bottleneck_batch_backward,
    fake=_fake_backward,
    native=native.BACKWARD,
    cuda=native.BACKWARD,
)
registration.define_gradient("bottleneck_batch", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("bottleneck_batch_backward")
