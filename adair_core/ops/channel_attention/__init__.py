"""Attention across channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops import registration
from adair_core.ops.channel_attention import native, reference
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.layout import accumulation_dtype, autocast, memory_format


def channel_attention(qkv: Tensor, temperature: Tensor, heads: int) -> Tensor:
    """Attend across channels: the attention matrix is channels x channels, so the cost is linear in the pixels.

    y = softmax(temperature * q' k'^T) v for each head; q' and k' are q and k with rows of length 1. Norms, cosines
    and softmax are float32 whatever the dtype of `qkv` (float64 for float64). Under autocast the input is cast like
    a convolution's.

    Args:
        qkv: ``(B, 3C, H, W)``, any strides: queries, keys and values; each head has C / heads consecutive channels.
        temperature: ``(heads, 1, 1)``, in the dtype of `qkv` or wider.
        heads: number of heads; divides C.

    Returns:
        ``(B, C, H, W)`` in the dtype of `qkv`; channels last if `qkv` is, else contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Source: Restormer, arXiv 2111.09881, eq. 2; see `reference`.
    """
    require_images("channel_attention", "qkv", qkv)
    if heads < 1 or qkv.shape[1] % (3 * heads):
        wanted = f"a multiple of 3 x {heads} heads"
        raise UsageError(expected("channel_attention: channels of qkv", expected=wanted, got=qkv.shape[1]))
    require_shape("channel_attention", "temperature", temperature, (heads, 1, 1))
    result: Tensor = _forward(autocast(qkv), temperature, heads)[0]
    return result


def _fake(qkv: Tensor, temperature: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    batch, channels, height, width = qkv.shape
    per_head = channels // (3 * heads)
    kind = accumulation_dtype(qkv)
    result = torch.empty(
        (batch, channels // 3, height, width), dtype=qkv.dtype, device=qkv.device, memory_format=memory_format(qkv)
    )
    cosines = qkv.new_empty((batch, heads, per_head, per_head), dtype=kind)
    return result, cosines, qkv.new_empty((2, batch, heads, per_head), dtype=kind)


def _fake_backward(
    gradient: Tensor,  # noqa: ARG001
    qkv: Tensor,
    temperature: Tensor,
    cosines: Tensor,  # noqa: ARG001
    lengths: Tensor,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(qkv, memory_format=memory_format(qkv)), temperature.new_empty(temperature.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    qkv, temperature, ctx.heads = inputs
    _, cosines, lengths = output
    ctx.mark_non_differentiable(cosines, lengths)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(qkv, temperature, cosines, lengths)


def _differentiate(ctx: Any, gradient: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return None, None, None
    qkv, temperature, cosines, lengths = ctx.saved_tensors
    needs = ctx.needs_input_grad
    if torch.is_grad_enabled():
        inputs = (qkv, temperature, ctx.heads)
        return registration.reference_gradients(reference.channel_attention, inputs, gradient, needs)
    to_qkv, to_temperature = _backward(gradient, qkv, temperature, cosines, lengths)
    return to_qkv, to_temperature if needs[1] else None, None


_forward = registration.define(
    "channel_attention(Tensor qkv, Tensor temperature, int heads) -> (Tensor, Tensor, Tensor)",
    reference=reference.channel_attention,
    fake=_fake,
    native=native.FORWARD,
    cuda=native.FORWARD,
)
_backward = registration.define(
    "channel_attention_backward(Tensor gradient, Tensor qkv, Tensor temperature, Tensor cosines, Tensor lengths)"
    " -> (Tensor, Tensor)",
    reference=reference.channel_attention_backward,
    fake=_fake_backward,
    native=native.BACKWARD,
    cuda=native.BACKWARD,
)
registration.define_gradient("channel_attention", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("channel_attention_backward")
