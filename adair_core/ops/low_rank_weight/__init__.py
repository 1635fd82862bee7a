"""A weight plus a low-rank update."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops import registration
from adair_core.ops.checks import require_shape
from adair_core.ops.low_rank_weight import native, reference


def low_rank_weight(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Add a low-rank update to a weight: W' = W + s B A.

    The sum is computed in float32 (float64 for a float64 weight) and rounded once to the dtype of the weight, so
    that small updates of a bfloat16 weight are not lost before they are added up.

    Args:
        weight: ``(O, ...)``, such as ``(O, I / groups, kh, kw)``.
        a: ``(r, ...)``, the rest as in `weight`.
        b: ``(O, r)`` or ``(O, r, 1, 1)``.
        scale: s, alpha / r in LoRA.

    Returns:
        Shape and dtype of `weight`, contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Source: LoRA, arXiv 2106.09685, eq. 3; see `reference`.
    """
    if weight.dim() < 2 or a.dim() < 2:
        got = f"{tuple(weight.shape)} and {tuple(a.shape)}"
        raise UsageError(expected("low_rank_weight: weight and a", expected="two dimensions or more", got=got))
    rank = a.shape[0]
    require_shape("low_rank_weight", "a", a, (rank, *weight.shape[1:]))
    require_shape("low_rank_weight", "b", b, (weight.shape[0], rank, *[1] * (b.dim() - 2)))
    result: Tensor = _forward(weight, a, b, scale)
    return result


def _fake(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:  # noqa: ARG001
    return weight.new_empty(weight.shape)


def _fake_backward(gradient: Tensor, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    weight, a, b, ctx.scale = inputs
    # The weight is saved for second derivatives only, and costs nothing: it lives anyway.
    ctx.save_for_backward(weight, a, b)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    weight, a, b = ctx.saved_tensors
    needs = ctx.needs_input_grad
    if torch.is_grad_enabled():
        inputs = (weight, a, b, ctx.scale)
        return registration.reference_gradients(reference.low_rank_weight, inputs, gradient, needs)
    if not (needs[1] or needs[2]):
        return gradient, None, None, None
    to_a, to_b = _backward(gradient, a, b, ctx.scale)
    return gradient if needs[0] else None, to_a if needs[1] else None, to_b if needs[2] else None, None


_forward = registration.define(
    "low_rank_weight(Tensor weight, Tensor a, Tensor b, float scale) -> Tensor",
    reference=reference.low_rank_weight,
    fake=_fake,
    cuda=native.FORWARD,
)
_backward = registration.define(
    "low_rank_weight_backward(Tensor gradient, Tensor a, Tensor b, float scale) -> (Tensor, Tensor)",
    reference=reference.low_rank_weight_backward,
    fake=_fake_backward,
    cuda=native.BACKWARD,
)
registration.define_gradient("low_rank_weight", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("low_rank_weight_backward")
