"""The CUDA kernels of the attention across channels (csrc/channel_attention)."""

from __future__ import annotations

import torch
from torch import Tensor

from adair_core.ops import pixel_steps
from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, empty_gradients, images, parameter, pixels, refuse


def attend(
    qkv: Tensor,
    temperature: Tensor,
    out_weight: Tensor | None = None,
    out_bias: Tensor | None = None,
    base: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention on pixels, with the output projection of a branch if there is one.

    Args:
        qkv: ``(B, H, W, 3C)``, contiguous.
        temperature: ``(heads, 1, 1)``.
        out_weight: ``(C, C, 1, 1)`` or ``None``.
        out_bias: ``(C,)`` or ``None``.
        base: ``(B, H, W, C)``, contiguous, what is added; or ``None``.

    Returns:
        ``(B, H, W, C)``, and the cosines and lengths of `reference.channel_attention`.
    """
    heads, channels = temperature.shape[0], qkv.shape[3] // 3
    result = qkv.new_empty((*qkv.shape[:3], channels))
    shape = (len(qkv), heads, channels // heads)
    cosines = qkv.new_empty((*shape, channels // heads), dtype=torch.float32)
    lengths = qkv.new_empty((2, *shape), dtype=torch.float32)
    given = map(parameter, (temperature, out_weight, out_bias))
    pixel_steps.kernels.channel_attention(qkv, *given, base, result, cosines, lengths)
    return result, cosines, lengths


def attend_backward(
    gradient: Tensor,
    qkv: Tensor,
    temperature: Tensor,
    out_weight: Tensor | None,
    kept: tuple[Tensor, Tensor],
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients with respect to qkv, temperature and output weight, where they are wanted; `kept` is from `attend`."""
    to_qkv = torch.empty_like(qkv) if needs[0] else None
    to_temperature, to_out_weight = empty_gradients((temperature, out_weight), needs[1:])
    pixel_steps.kernels.channel_attention_backward(
        *(gradient, qkv, parameter(temperature), parameter(out_weight)),
        *(*map(parameter, kept), to_qkv, to_temperature, to_out_weight),
    )
    return to_qkv, to_temperature, to_out_weight


def _forward(qkv: Tensor, temperature: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    result, cosines, lengths = attend(pixels(qkv), temperature)
    return images(result, memory_format(qkv)), cosines, lengths


def _backward(
    gradient: Tensor, qkv: Tensor, temperature: Tensor, cosines: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    to_qkv, to_temperature, _ = attend_backward(
        pixels(gradient.to(qkv.dtype)), pixels(qkv), temperature, None, (cosines, lengths), (True, True, False)
    )
    assert to_qkv is not None
    assert to_temperature is not None
    return images(to_qkv, memory_format(qkv)), to_temperature.to(temperature.dtype)


FORWARD = NativeKernel(_forward, refuse)
BACKWARD = NativeKernel(_backward, refuse)
