"""The native kernels of the attention across channels (csrc/channel_attention), which take pixels.

On a CPU they serve images that are channels last. The reference's time over theirs (1 thread, AMX; forward, backward):
48 channels at 128 x 128 4.5 and 2.9 in float32, 8.2 and 3.2 in bfloat16; 96 at 64 x 64 1.4 and 1.3, 3.0 and 9.9; 384
with 8 heads at 16 x 16 2.2 and 3.3, 3.6 and 18; 47 at 33 x 29 1.8 and 2.0, 2.8 and 3.0. Channels first, where each
channel is a row of the library's products as it lies and the kernels need conversions: 0.5 and 0.5 in float32 at 48
channels, 0.1 to 0.2 and 0.5 at 96, 0.4 and 0.8 at 384; in bfloat16 0.2 to 1.3 and 0.7 to 1.5, ahead for small images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.ops import pixel_steps
from adair_core.ops.layout import memory_format
from adair_core.ops.native import NativeKernel, empty_gradients, images, parameter, pixels, unsuitable


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


def _refusal(qkv: Tensor, *_: Any) -> str | None:
    if not qkv.is_cuda and memory_format(qkv) != torch.channels_last and qkv.shape[2] * qkv.shape[3] > 1:
        return "channels first, PyTorch's matrix products are faster"
    return unsuitable(qkv)


def _backward_refusal(gradient: Tensor, qkv: Tensor, *_: Any) -> str | None:  # noqa: ARG001
    return _refusal(qkv)


FORWARD = NativeKernel(_forward, _refusal)
BACKWARD = NativeKernel(_backward, _backward_refusal)
