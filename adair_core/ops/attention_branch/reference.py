"""The attention branch of a transformer block of Restormer, in plain PyTorch.

    y = W_o [A_1 v_1, ..., A_n v_n] (+ x),    [q, k, v] = dw(W LN(x)),    A_i = softmax(t_i q_i' k_i'^T)

with LN a layer norm over channels, W and W_o 1x1 convolutions, dw a depthwise 3x3 convolution with zero padding, and
for each of n heads the attention across its channels of `adair_core.ops.channel_attention.reference`. Source: Zamir et
al., "Restormer", arXiv 2111.09881, eq. 1 and 2, and figure 2 for the layer norm and the residual.

For the backward pass only x, dw's output, [q, k, v], and small matrices are kept; all else is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adair_core.ops.channel_attention import reference as attention
from adair_core.ops.convolution import convolution_backward, convolve
from adair_core.ops.depthwise.reference import depthwise, depthwise_backward
from adair_core.ops.layer_norm2d import reference as norm
from adair_core.ops.layout import memory_format


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
    eps: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the branch.

    Args:
        x: ``(B, C, H, W)``.
        norm_weight: ``(C,)``.
        norm_bias: ``(C,)``; ``None`` is the bias-free kind.
        qkv_weight: ``(3C, C, 1, 1)``.
        qkv_bias: ``(3C,)`` or ``None``.
        depthwise_weight: ``(3C, 1, 3, 3)``.
        depthwise_bias: ``(3C,)`` or ``None``.
        temperature: ``(heads, 1, 1)``.
        out_weight: ``(C, C, 1, 1)``.
        out_bias: ``(C,)`` or ``None``.
        eps: added to the variance.
        residual: whether x is added.
        keep: whether to return dw's output too, so that the backward pass need not compute it again.

    Returns:
        ``(B, C, H, W)``; dw's output, ``(B, 3C, H, W)``, empty unless `keep`; and the cosines and lengths of
        `channel_attention`.
    """
    layout = memory_format(x)
    normalised = norm.layer_norm2d(x, norm_weight, norm_bias, eps)[0]
    qkv = depthwise(convolve(normalised, qkv_weight, qkv_bias), depthwise_weight, depthwise_bias)
    qkv = qkv.contiguous(memory_format=layout)
    attended, cosines, lengths = attention.channel_attention(qkv, temperature, temperature.shape[0])
    result = convolve(attended, out_weight, out_bias)
    result = x + result if residual else result
    return result.contiguous(memory_format=layout), qkv if keep else x.new_empty(0), cosines, lengths


def attention_branch_backward(
    gradient: Tensor,
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
    eps: float,
    residual: bool,
    qkv: Tensor,
    cosines: Tensor,
    lengths: Tensor,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to x and the parameters.

    Args:
        gradient: of the result, ``(B, C, H, W)``.
        x: as in `attention_branch`, like the next eleven.
        norm_weight: see `attention_branch`.
        norm_bias: see `attention_branch`.
        qkv_weight: see `attention_branch`.
        qkv_bias: see `attention_branch`.
        depthwise_weight: see `attention_branch`.
        depthwise_bias: see `attention_branch`.
        temperature: see `attention_branch`.
        out_weight: see `attention_branch`.
        out_bias: see `attention_branch`.
        eps: see `attention_branch`.
        residual: see `attention_branch`.
        qkv: from `attention_branch` with `keep`, like the next two.
        cosines: see `qkv`.
        lengths: see `qkv`.
        needs: which of the ten gradients (x, then the parameters in order) are wanted; the others are empty.

    Returns:
        The ten gradients.
    """
    layout = memory_format(x)
    gradient = gradient.contiguous(memory_format=layout)
    # Of the attention's output, only the shape is asked unless the output convolution learns.
    attended = qkv[:, : x.shape[1]]
    if needs[8]:
        attended = attention.channel_attention(qkv, temperature, temperature.shape[0])[0]
    to_attended, to_out, to_out_bias = convolution_backward(gradient, attended, out_weight, (True, *needs[8:10]))
    to_x = to_weight = to_bias = to_in = to_in_bias = to_depthwise = to_depthwise_bias = to_temperature = None
    if any(needs[:8]):
        to_qkv, to_temperature = attention.channel_attention_backward(to_attended, qkv, temperature, cosines, lengths)
    if any(needs[:7]):
        normalised, mean, rstd = norm.layer_norm2d(x, norm_weight, norm_bias, eps)
        # Of the depthwise convolution's input, likewise.
        expanded = convolve(normalised, qkv_weight, qkv_bias) if needs[5] else qkv
        to_expanded, to_depthwise, to_depthwise_bias = depthwise_backward(
            to_qkv, expanded, depthwise_weight, layout == torch.channels_last, (True, *needs[5:7])
        )
        to_normalised, to_in, to_in_bias = convolution_backward(
            to_expanded, normalised, qkv_weight, (any(needs[:3]), *needs[3:5])
        )
        if to_normalised is not None:
            to_x, to_weight, to_bias = norm.layer_norm2d_backward(
                to_normalised, x, norm_weight, mean, rstd, norm_bias is None, any(needs[1:3])
            )
            to_x = (to_x + gradient if residual else to_x).contiguous(memory_format=layout)
    found = (
        *(to_x, to_weight, to_bias),
        *(to_in, to_in_bias, to_depthwise, to_depthwise_bias),
        *(to_temperature, to_out, to_out_bias),
    )
    parameters = (
        *(x, norm_weight, norm_bias, qkv_weight, qkv_bias),
        *(depthwise_weight, depthwise_bias, temperature, out_weight, out_bias),
    )
    return tuple(  # type: ignore[return-value]
        x.new_empty(0) if not need or value is None or parameter is None else value.to(parameter.dtype)
        for value, parameter, need in zip(found, parameters, needs, strict=True)
    )
