"""The feed-forward branch of a transformer block of Restormer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.ops import registration
from adair_core.ops.branches import run_branch
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.epilogue import Epilogue
from adair_core.ops.feed_forward import cuda, native, reference
from adair_core.ops.layout import memory_format


def feed_forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor | None,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    *,
    eps: float = 1e-5,
    residual: bool = True,
    epilogue: Epilogue | None = None,
) -> Tensor:
    """Layer norm, then Restormer's gated feed-forward network, then the residual: y = x + GDFN(LN x).

    GDFN(z) = W_out [GELU(a) b] with [a, b] the two halves of the channels of dw(W_in z), dw a depthwise 3x3
    convolution with zero padding. Under autocast the input is cast like a convolution's. Parameters
    may be `PerImage`.

    Args:
        x: ``(B, C, H, W)``, any strides.
        norm_weight: ``(C,)``, in the dtype of `x` or wider, like all that follow; those of the convolutions are rounded
            to the dtype of `x`.
        norm_bias: ``(C,)``; ``None`` is Restormer's bias-free layer norm.
        in_weight: ``(2h, C, 1, 1)``.
        in_bias: ``(2h,)`` or ``None``.
        depthwise_weight: ``(2h, 1, 3, 3)``.
        depthwise_bias: ``(2h,)`` or ``None``.
        out_weight: ``(C, h, 1, 1)``.
        out_bias: ``(C,)`` or ``None``.
        eps: added to the variance.
        residual: whether x is added.
        epilogue: bottleneck adapters that are added to the branch's own output.

    Returns:
        ``(B, C, H, W)`` in the dtype of `x`; channels last if `x` is, else contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Source: Restormer, arXiv 2111.09881, eq. 3; see `reference`.
    """
    require_images("feed_forward", "x", x)
    channels, hidden = x.shape[1], out_weight.shape[1] if out_weight.dim() > 1 else 0
    require_shape("feed_forward", "out_weight", out_weight, (channels, hidden, 1, 1))
    require_shape("feed_forward", "norm_weight", norm_weight, (channels,))
    require_shape("feed_forward", "in_weight", in_weight, (2 * hidden, channels, 1, 1))
    require_shape("feed_forward", "depthwise_weight", depthwise_weight, (2 * hidden, 1, 3, 3))
    for name, bias, size in (
        ("norm_bias", norm_bias, channels),
        ("in_bias", in_bias, 2 * hidden),
        ("depthwise_bias", depthwise_bias, 2 * hidden),
        ("out_bias", out_bias, channels),
    ):
        if bias is not None:
            require_shape("feed_forward", name, bias, (size,))
    parameters = (
        *(norm_weight, norm_bias, in_weight, in_bias),
        *(depthwise_weight, depthwise_bias, out_weight, out_bias),
    )
    return run_branch(_forward, native, cuda.FORWARD, x, parameters, eps, residual, epilogue)


def _fake(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    in_weight, keep = arguments[2], arguments[-1]
    batch, _, height, width = x.shape
    layout = memory_format(x)
    shape = (batch, in_weight.shape[0], height, width)
    convolved = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout) if keep else x.new_empty(0)
    return torch.empty_like(x, memory_format=layout), convolved


def _fake_backward(gradient: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    *parameters, _eps, _residual, _convolved, needs = arguments
    to_x = torch.empty_like(x, memory_format=memory_format(x)) if needs[0] else x.new_empty(0)
    return to_x, *(
        value.new_empty(value.shape) if need and value is not None else x.new_empty(0)
        for value, need in zip(parameters, needs[1:], strict=True)
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.eps, ctx.residual, ctx.keep = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[1] if ctx.keep else None)


def _differentiate(ctx: Any, gradient: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return (None,) * 12
    *tensors, convolved = ctx.saved_tensors
    needs: Sequence[bool] = ctx.needs_input_grad
    if torch.is_grad_enabled():
        inputs = (*tensors, ctx.eps, ctx.residual, False)
        return registration.reference_gradients(reference.feed_forward, inputs, gradient, needs)
    gradients = _backward(gradient, *tensors, ctx.eps, ctx.residual, convolved, list(needs[:9]))
    return *(value if need else None for value, need in zip(gradients, needs, strict=False)), None, None, None


_PARAMETERS = (
    "Tensor norm_weight, Tensor? norm_bias, Tensor in_weight, Tensor? in_bias, Tensor depthwise_weight,"
    " Tensor? depthwise_bias, Tensor out_weight, Tensor? out_bias, float eps, bool residual"
)
_forward = registration.define(
    f"feed_forward(Tensor x, {_PARAMETERS}, bool keep) -> (Tensor, Tensor)",
    reference=reference.feed_forward,
    fake=_fake,
    native=native.FORWARD,
    cuda=cuda.FORWARD,
)
_backward = registration.define(
    f"feed_forward_backward(Tensor gradient, Tensor x, {_PARAMETERS}, Tensor? convolved, bool[] needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference.feed_forward_backward,
    fake=_fake_backward,
    native=native.BACKWARD,
    cuda=cuda.BACKWARD,
)
registration.define_gradient("feed_forward", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("feed_forward_backward")
