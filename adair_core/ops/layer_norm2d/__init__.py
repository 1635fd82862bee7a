"""Layer norm over the channels of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adair_core.ops import registration
from adair_core.ops.checks import require_images, require_shape
from adair_core.ops.layer_norm2d import native, reference
from adair_core.ops.layout import accumulation_dtype, memory_format


def layer_norm2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalise each pixel over its channels.

    y = (x - m) r w + b with a bias, y = x r w without; m and v are the mean and the variance over the channels,
    r = 1 / sqrt(v + eps). Statistics are float32 whatever the dtype of `x` (float64 for float64).

    Args:
        x: ``(B, C, H, W)``, any strides.
        weight: ``(C,)``, in the dtype of `x` or wider.
        bias: ``(C,)``; ``None`` is Restormer's bias-free kind, whose numerator is not centred.
        eps: added to the variance.

    Returns:
        ``(B, C, H, W)`` in the dtype of `x`; channels last if `x` is, else contiguous.

    Raises:
        UsageError: the shapes do not fit together.

    Source: Restormer, arXiv 2111.09881, section 3; see `reference`.
    """
    require_images("layer_norm2d", "x", x)
    require_shape("layer_norm2d", "weight", weight, (x.shape[1],))
    if bias is not None:
        require_shape("layer_norm2d", "bias", bias, (x.shape[1],))
    result: Tensor = _forward(x, weight, bias, eps)[0]
    return result


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    batch, _, height, width = x.shape
    mean = x.new_empty((batch, 1, height, width), dtype=accumulation_dtype(x))
    return torch.empty_like(x, memory_format=memory_format(x)), mean, torch.empty_like(mean)


def _fake_backward(
    gradient: Tensor,  # noqa: ARG001
    x: Tensor,
    weight: Tensor,
    mean: Tensor,  # noqa: ARG001
    rstd: Tensor,  # noqa: ARG001
    bias_free: bool,
    affine: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    to_x = torch.empty_like(x, memory_format=memory_format(x))
    channels = weight.shape[0]
    to_weight = weight.new_empty(channels if affine else 0)
    return to_x, to_weight, weight.new_empty(channels if affine and not bias_free else 0)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias, ctx.eps = inputs
    _, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weight, bias, mean, rstd)


def _differentiate(ctx: Any, gradient: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return None, None, None, None
    x, weight, bias, mean, rstd = ctx.saved_tensors
    needs = ctx.needs_input_grad
    if torch.is_grad_enabled():
        return registration.reference_gradients(reference.layer_norm2d, (x, weight, bias, ctx.eps), gradient, needs)
    affine = needs[1] or needs[2]
    to_x, to_weight, to_bias = _backward(gradient, x, weight, mean, rstd, bias is None, affine)
    return to_x, to_weight if needs[1] else None, to_bias if needs[2] else None, None


_forward = registration.define(
    "layer_norm2d(Tensor x, Tensor weight, Tensor? bias, float eps) -> (Tensor, Tensor, Tensor)",
    reference=reference.layer_norm2d,
    fake=_fake,
    native=native.FORWARD,
    cuda=native.FORWARD,
)
_backward = registration.define(
    "layer_norm2d_backward(Tensor gradient, Tensor x, Tensor weight, Tensor mean, Tensor rstd, bool bias_free,"
    " bool affine) -> (Tensor, Tensor, Tensor)",
    reference=reference.layer_norm2d_backward,
    fake=_fake_backward,
    native=native.BACKWARD,
    cuda=native.BACKWARD,
)
registration.define_gradient("layer_norm2d", setup_context=_setup_context, backward=_differentiate)
registration.refuse_gradient("layer_norm2d_backward")
