"""Depthwise convolution and GELU gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adair_core.errors import UsageError, expected
from adair_core.ops import registration
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.depthwise.reference import depthwise, depthwise_backward
from adair_core.ops.depthwise_gate import native, reference
from adair_core.ops.keeping import keeps
from adair_core.ops.layout import autocast, memory_format


def depthwise_gate(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve each channel, then gate one half of the channels with the other.

    y = GELU(dw(x)[:, :h]) * dw(x)[:, h:], dw a depthwise 3x3 convolution with zero padding. Under autocast the
    input is cast like a convolution's.

    Args:
        x: ``(B, 2h, H, W)``, any strides.
        weight: ``(2h, 1, 3, 3)``, in the dtype of `x` or wider (rounded to that of `x`).
        bias: ``(2h,)`` or ``None``.

    Returns:
        ``(B, h, H, W)`` in the dtype of `x`; channels last if `x` is, else contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Source: Restormer, arXiv 2111.09881, eq. 3; see `reference`.
    """
    require_images("depthwise_gate", "x", x)
    channels = x.shape[1]
    if channels % 2:
        raise UsageError(expected("depthwise_gate: channels of x", expected="an even number", got=channels))
    require_shape("depthwise_gate", "weight", weight, (channels, 1, 3, 3))
    if bias is not None:
        require_shape("depthwise_gate", "bias", bias, (channels,))
    result: Tensor = _forward(autocast(x), weight, bias, keeps(x, weight, bias))[0]
    return result


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None, keep: bool) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    batch, channels, height, width = x.shape
    layout = memory_format(x)
    result = torch.empty((batch, channels // 2, height, width), dtype=x.dtype, device=x.device, memory_format=layout)
    return result, torch.empty_like(x, memory_format=layout) if keep else x.new_empty(0)


def _fake_backward(
    gradient: Tensor,  # noqa: ARG001
    x: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,  # noqa: ARG001
    convolved: Tensor | None,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    source = convolved if x is None else x
    assert source is not None
    return (
        torch.empty_like(source, memory_format=memory_format(source)) if needs[0] else source.new_empty(0),
        weight.new_empty(weight.shape) if needs[1] else weight.new_empty(0),
        weight.new_empty(weight.shape[0]) if needs[2] else weight.new_empty(0),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, keep = inputs
    ctx.set_materialize_grads(False)
    if not keep:
        ctx.mark_non_differentiable(output[1])
    # A frozen weight needs no input: what the gate needs, the convolution's output, is then all that is saved.
    saved_input = x if ctx.needs_input_grad[1] or not keep else None
    ctx.save_for_backward(saved_input, weight, bias, output[1] if keep else None)


def _differentiate(ctx: Any, gradient: Tensor | None, to_convolved: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, bias, convolved = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:3])
    if gradient is not None and to_convolved is None and not torch.is_grad_enabled():
        gradients = _backward(gradient, x, weight, bias, convolved, needs)
    else:
        gradients = _second_order(gradient, to_convolved, x, weight, bias, convolved, needs)
    return *(value if need else None for value, need in zip(gradients, needs, strict=True)), None


def _second_order(
    gradient: Tensor | None,
    to_convolved: Tensor | None,
    x: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    convolved: Tensor | None,
    needs: list[bool],
) -> tuple[Tensor | None, ...]:
    """The backward pass in differentiable steps, with a gradient of the convolution's output from a second one."""
    if gradient is not None:
        if convolved is None:
            assert x is not None
            convolved = depthwise(x, weight, bias)
        inner = reference.gate_backward(gradient, convolved)
        to_convolved = inner if to_convolved is None else inner + to_convolved
    if to_convolved is None:
        return None, None, None
    channels_last = memory_format(to_convolved if x is None else x) == torch.channels_last
    return depthwise_backward(to_convolved, x, weight, channels_last, needs)


_forward = registration.define(
    "depthwise_gate(Tensor x, Tensor weight, Tensor? bias, bool keep) -> (Tensor, Tensor)",
    reference=reference.depthwise_gate,
    fake=_fake,
    native=native.FORWARD,
    cuda=native.FORWARD,
)
_backward = registration.define(
    "depthwise_gate_backward(Tensor gradient, Tensor? x, Tensor weight, Tensor? bias, Tensor? convolved, bool[] needs)"
    " -> (Tensor, Tensor, Tensor)",
    reference=reference.depthwise_gate_backward,
    fake=_fake_backward,
    native=native.BACKWARD,
    cuda=native.BACKWARD,
)
registration.define_gradient("depthwise_gate", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("depthwise_gate_backward")
