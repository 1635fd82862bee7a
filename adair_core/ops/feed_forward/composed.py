"""The feed-forward branch around the library's matrix products, on pixels ``(B, H, W, C)``, on any device with kernels.

Of U = B C H W values the layer norm moves 2, the product to 2h channels 6.3, depthwise convolution and gate 8, the
product back 3.7, the residual 3: 23 U, where a kernel for the whole branch moves 2.3. It is for layers so wide that the
products take the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adair_core.ops import pixel_steps
from adair_core.ops.feed_forward.parameters import Parameters
from adair_core.ops.layout import memory_format
from adair_core.ops.native import empty_gradients, gradients, images, parameter, pixels
from adair_core.ops.pixel_steps import normalise, normalise_backward, project, project_backward


def forward(
    x: Tensor,
    parameters: Parameters,
    eps: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """As `reference.feed_forward`."""
    p, layout, source = parameters, memory_format(x), pixels(x)
    expanded = p.in_weight.shape[0]
    convolved = source.new_empty((*source.shape[:3], expanded)) if keep else None
    hidden = project(normalise(source, p.norm_weight, p.norm_bias, eps)[0], p.in_weight, p.in_bias)
    gated = source.new_empty((*source.shape[:3], expanded // 2))
    pixel_steps.kernels.depthwise_gate(
        hidden, parameter(p.depthwise_weight), parameter(p.depthwise_bias), True, gated, convolved
    )
    result = project(gated, p.out_weight, p.out_bias)
    result = result.add_(source) if residual else result
    return images(result, layout), x.new_empty(0) if convolved is None else images(convolved, layout)


def backward(
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    eps: float,
    residual: bool,
    convolved: Tensor | None,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    """As `reference.feed_forward_backward`."""
    p = parameters
    norm, depthwise = (p.norm_weight, p.norm_bias), (p.depthwise_weight, p.depthwise_bias)
    if convolved is None:
        convolved = forward(x, parameters, eps, residual, True)[1]
    source, outer, middle = pixels(x), pixels(gradient.to(x.dtype)), pixels(convolved)
    to_x = to_in = to_in_bias = None
    to_norm: Sequence[Tensor | None] = (None, None)
    to_depthwise = empty_gradients(depthwise, needs[5:7])
    gated = None
    if needs[7]:
        a, b = middle.chunk(2, dim=-1)
        gated = functional.gelu(a).mul_(b)
    to_gated, to_out, to_out_bias = project_backward(outer, gated, p.out_weight, (any(needs[:7]), *needs[7:9]))
    if to_gated is not None:
        normalised, mean, rstd = normalise(source, *norm, eps)
        to_hidden = torch.empty_like(middle) if any(needs[:5]) else None
        hidden = project(normalised, p.in_weight, p.in_bias) if needs[5] else None
        pixel_steps.kernels.depthwise_gate_backward(
            to_gated, middle, hidden, parameter(p.depthwise_weight), True, to_hidden, *to_depthwise
        )
        if to_hidden is not None:
            to_normalised, to_in, to_in_bias = project_backward(
                to_hidden, normalised, p.in_weight, (any(needs[:3]), *needs[3:5])
            )
            if to_normalised is not None:
                to_x, *to_norm = normalise_backward(to_normalised, source, (mean, rstd), norm, needs[1:3])
                to_x = to_x.add_(outer) if residual else to_x
    found = (*to_norm, to_in, to_in_bias, *to_depthwise, to_out, to_out_bias)
    return gradients(x, to_x if needs[0] else None, found, parameters)
