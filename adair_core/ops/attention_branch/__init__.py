"""The attention branch of a transformer block of Restormer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops import registration
from adair_core.ops.attention_branch import cuda, native, reference
from adair_core.ops.branches import run_branch
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.epilogue import Epilogue
from adair_core.ops.layout import accumulation_dtype, memory_format


def attention_branch(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    qkv_weight: Tensor,
    qkv_bias: Tensor | None,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor | None,
    temperature: Tensor,
    out_weight: Tensor,
    out_bias: Tensor | None,
    *,
    heads: int,
    eps: float = 1e-5,
    residual: bool = True,
    epilogue: Epilogue | None = None,
) -> Tensor:
    """Layer norm, then Restormer's attention across channels, then the residual: y = x + MDTA(LN x).

    MDTA(z) = W_out attention(q, k, v) with [q, k, v] = dw(W_qkv z), dw a depthwise 3x3 convolution with zero padding,
    and the attention of `adair_core.ops.channel_attention`. Under autocast the input is cast like a convolution's.
    Parameters may be `PerImage`.

    Args:
        x: ``(B, C, H, W)``, any strides.
        norm_weight: ``(C,)``, in the dtype of `x` or wider, like all that follow; those of the convolutions are rounded
            to the dtype of `x`.
        norm_bias: ``(C,)``; ``None`` is Restormer's bias-free layer norm.
        qkv_weight: ``(3C, C, 1, 1)``: to queries, keys and values; each head has C / heads consecutive channels.
        qkv_bias: ``(3C,)`` or ``None``.
        depthwise_weight: ``(3C, 1, 3, 3)``.
        depthwise_bias: ``(3C,)`` or ``None``.
        temperature: ``(heads, 1, 1)``, factor of the cosines.
        out_weight: ``(C, C, 1, 1)``.
        out_bias: ``(C,)`` or ``None``.
        heads: number of heads; divides C.
        eps: added to the variance.
        residual: whether x is added.
        epilogue: bottleneck adapters that are added to the branch's own output.

    Returns:
        ``(B, C, H, W)`` in the dtype of `x`; channels last if `x` is, else contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Source: Restormer, arXiv 2111.09881, eq. 1 and 2; see `reference`.
    """
    require_images("attention_branch", "x", x)
    channels = x.shape[1]
    if heads < 1 or channels % heads:
        raise UsageError(
            expected("attention_branch: channels of x", expected=f"a multiple of {heads} heads", got=channels)
        )
    for name, value, shape in (
        ("norm_weight", norm_weight, (channels,)),
        ("norm_bias", norm_bias, (channels,)),
        ("qkv_weight", qkv_weight, (3 * channels, channels, 1, 1)),
        ("qkv_bias", qkv_bias, (3 * channels,)),
        ("depthwise_weight", depthwise_weight, (3 * channels, 1, 3, 3)),
        ("depthwise_bias", depthwise_bias, (3 * channels,)),
        ("temperature", temperature, (heads, 1, 1)),
        ("out_weight", out_weight, (channels, channels, 1, 1)),
        ("out_bias", out_bias, (channels,)),
    ):
        if value is not None:
            require_shape("attention_branch", name, value, shape)
    parameters = (
        *(norm_weight, norm_bias, qkv_weight, qkv_bias),
        *(depthwise_weight, depthwise_bias, temperature, out_weight, out_bias),
    )
    return run_branch(_forward, native, cuda.FORWARD, x, parameters, eps, residual, epilogue)


def _fake(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    temperature, keep = arguments[6], arguments[-1]
    batch, channels, height, width = x.shape
    layout, kind = memory_format(x), accumulation_dtype(x)
    heads = temperature.shape[0]
    shape = (batch, 3 * channels, height, width)
    qkv = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout) if keep else x.new_empty(0)
    cosines = x.new_empty((batch, heads, channels // heads, channels // heads), dtype=kind)
    lengths = x.new_empty((2, batch, heads, channels // heads), dtype=kind)
    return torch.empty_like(x, memory_format=layout), qkv, cosines, lengths


def _fake_backward(gradient: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    parameters, needs = arguments[:9], arguments[-1]
    to_x = torch.empty_like(x, memory_format=memory_format(x)) if needs[0] else x.new_empty(0)
    return to_x, *(
        value.new_empty(value.shape) if need and value is not None else x.new_empty(0)
        for value, need in zip(parameters, needs[1:], strict=True)
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.eps, ctx.residual, keep = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *(output[1:] if keep else (None,) * 3))


def _differentiate(ctx: Any, gradient: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return (None,) * 13
    *tensors, qkv, cosines, lengths = ctx.saved_tensors
    needs: Sequence[bool] = ctx.needs_input_grad
    if torch.is_grad_enabled():
        inputs = (*tensors, ctx.eps, ctx.residual, False)
        return registration.reference_gradients(reference.attention_branch, inputs, gradient, needs)
    if qkv is None:
        _, qkv, cosines, lengths = _forward(*tensors, ctx.eps, ctx.residual, True)
    gradients = _backward(gradient, *tensors, ctx.eps, ctx.residual, qkv, cosines, lengths, list(needs[:10]))
    return *(value if need else None for value, need in zip(gradients, needs, strict=False)), None, None, None


_PARAMETERS = (
    "Tensor norm_weight, Tensor? norm_bias, Tensor qkv_weight, Tensor? qkv_bias, Tensor depthwise_weight,"
    " Tensor? depthwise_bias, Tensor temperature, Tensor out_weight, Tensor? out_bias, float eps, bool residual"
)
_forward = registration.define(
    f"attention_branch(Tensor x, {_PARAMETERS}, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
    reference=reference.attention_branch,
    fake=_fake,
    native=native.FORWARD,
    cuda=cuda.FORWARD,
)
_backward = registration.define(
    f"attention_branch_backward(Tensor gradient, Tensor x, {_PARAMETERS}, Tensor qkv, Tensor cosines, Tensor lengths,"
    " bool[] needs) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference.attention_branch_backward,
    fake=_fake_backward,
    native=native.BACKWARD,
    cuda=cuda.BACKWARD,
)
registration.define_gradient("attention_branch", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("attention_branch_backward")
