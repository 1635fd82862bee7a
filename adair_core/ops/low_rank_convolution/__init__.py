"""A convolution with a low-rank update of its weight, another for each image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops import registration
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.layout import autocast, memory_format
from adair_core.ops.low_rank_convolution import reference


def low_rank_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    index: Tensor,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> Tensor:
    """Convolve each image with its own weight: y_i = conv(x_i, W + s_k B_k A_k) + bias, k its adapter.

    The updates are merged in float32 (float64 for float64) and rounded once to the dtype of `x`. Under autocast the
    input is cast like a convolution's.

    Args:
        x: ``(B, C, H, W)``, any strides.
        weight: ``(O, C / groups, kh, kw)``, in the dtype of `x` or wider, like all that follow.
        bias: ``(O,)`` or ``None``.
        a: ``(K, r, C / groups, kh, kw)``, the first factors of K adapters.
        b: ``(K, O, r)``.
        scale: ``(K,)``, alpha / r in LoRA.
        index: ``(B,)`` int64, the adapter of each image, from 0 to K - 1; -1 is none.
        stride: in both directions, like `padding`.
        padding: zeros on each side.
        groups: of channels.

    Returns:
        ``(B, O, H', W')`` in the dtype of `x`; channels last if `x` is, else contiguous.

    Raises:
        UsageError: the shapes do not fit together, or an index is out of range.

    Source: LoRA, arXiv 2106.09685, eq. 3; see `reference`.
    """
    name = "low_rank_convolution"
    require_images(name, "x", x)
    if weight.dim() != 4 or a.dim() != 5:
        got = f"{tuple(weight.shape)} and {tuple(a.shape)}"
        raise UsageError(expected(f"{name}: weight and a", expected="(O, C, kh, kw) and (K, r, C, kh, kw)", got=got))
    adapters, rank = a.shape[:2]
    require_shape(name, "weight", weight, (len(weight), x.shape[1] // groups, *weight.shape[2:]))
    require_shape(name, "a", a, (adapters, rank, *weight.shape[1:]))
    require_shape(name, "b", b, (adapters, len(weight), rank))
    require_shape(name, "scale", scale, (adapters,))
    require_shape(name, "index", index, (x.shape[0],))
    if bias is not None:
        require_shape(name, "bias", bias, (len(weight),))
    if index.dtype != torch.int64:
        raise UsageError(expected(f"{name}: index", expected="int64", got=index.dtype))
    result: Tensor = _forward(autocast(x), weight, bias, a, b, scale, index, stride, padding, groups)
    return result


def _fake(x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
    stride, padding = arguments[-3:-1]
    sizes = [
        (size + 2 * padding - kernel) // stride + 1 for size, kernel in zip(x.shape[2:], weight.shape[2:], strict=True)
    ]
    shape = (x.shape[0], weight.shape[0], *sizes)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def _fake_backward(gradient: Tensor, x: Tensor, weight: Tensor, *arguments: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    a, b, scale, *_, needs = arguments
    found = [torch.empty_like(x, memory_format=memory_format(x)) if needs[0] else x.new_empty(0)]
    likes = (weight, weight, a, b, scale)
    shapes = (weight.shape, weight.shape[:1], a.shape, b.shape, scale.shape)
    for like, shape, need in zip(likes, shapes, needs[1:], strict=True):
        found.append(like.new_empty(shape) if need else x.new_empty(0))
    return tuple(found)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.stride, ctx.padding, ctx.groups = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    tensors, needs = ctx.saved_tensors, ctx.needs_input_grad
    geometry = (ctx.stride, ctx.padding, ctx.groups)
    if torch.is_grad_enabled():
        inputs = (*tensors, *geometry)
        return registration.reference_gradients(reference.low_rank_convolution, inputs, gradient, needs)
    x, weight, _, a, b, scale, index = tensors
    gradients = _backward(gradient, x, weight, a, b, scale, index, *geometry, list(needs[:6]))
    return *(value if need else None for value, need in zip(gradients, needs, strict=False)), None, None, None, None


_PARAMETERS = "Tensor a, Tensor b, Tensor scale, Tensor index, int stride, int padding, int groups"
_forward = registration.define(
    f"low_rank_convolution(Tensor x, Tensor weight, Tensor? bias, {_PARAMETERS}) -> Tensor",
    reference=reference.low_rank_convolution,
    fake=_fake,
)
_backward = registration.define(
    f"low_rank_convolution_backward(Tensor gradient, Tensor x, Tensor weight, {_PARAMETERS}, bool[] needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference.low_rank_convolution_backward,
    fake=_fake_backward,
)
registration.define_gradient("low_rank_convolution", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("low_rank_convolution_backward")
