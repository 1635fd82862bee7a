"""The operators, each beside the same arithmetic in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adair_core import ops

IMAGE = (2, 12, 5, 7)


@dataclass(frozen=True)
class Case:
    """An operator, the same arithmetic in plain PyTorch, and the shapes of its arguments (None stays None).

    `constants` follow the tensors; the first tensor is the images. `extra` are the further arguments of the
    dispatcher's overload.
    """

    name: str
    operator: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...] | None, ...]
    constants: tuple[Any, ...] = ()
    extra: tuple[Any, ...] = ()

    def run(self, *tensors: Tensor | None) -> Tensor:
        return self.operator(*tensors, *self.constants)

    def run_plain(self, *tensors: Tensor | None) -> Tensor:
        return self.plain(*tensors, *self.constants)

    def tensors(self, dtype: torch.dtype = torch.float64, *, layout: torch.memory_format | None = None) -> list[Any]:
        generator = torch.Generator().manual_seed(5)
        made = [
            None if shape is None else torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
            for shape in self.shapes
        ]
        if layout is not None:
            made[0] = made[0].contiguous(memory_format=layout)
        return [None if value is None else value.requires_grad_() for value in made]


class CaseModule(nn.Module):
    """A module that calls an operator: images are its inputs (like the first tensor), the others its parameters."""

    def __init__(self, case: Case, tensors: list[Any]) -> None:
        super().__init__()
        self.case = case
        self.places = [place for place, shape in enumerate(case.shapes) if place > 0 and shape != case.shapes[0]]
        for place in self.places:
            value = tensors[place]
            self.register_parameter(f"p{place}", None if value is None else nn.Parameter(value.detach().clone()))

    def forward(self, *images: Tensor) -> Tensor:
        given = iter(images)
        return self.case.run(
            *(getattr(self, f"p{p}") if p in self.places else next(given) for p in range(len(self.case.shapes)))
        )


def module_of(case: Case, dtype: torch.dtype = torch.float64, **options: Any) -> tuple[CaseModule, list[Tensor]]:
    """A module of a case, and its inputs."""
    tensors = case.tensors(dtype, **options)
    module = CaseModule(case, tensors)
    return module, [value.detach() for place, value in enumerate(tensors) if place not in module.places]


def plain_biased_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weight, bias, 1e-5).permute(0, 3, 1, 2)


def plain_bias_free_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5) * weight[:, None, None]


def plain_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.conv2d(x, weight, bias, padding=1, groups=x.shape[1])


def plain_gate(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    a, b = functional.conv2d(x, weight, bias, padding=1, groups=x.shape[1]).chunk(2, 1)
    return functional.gelu(a) * b


def plain_attention(qkv: Tensor, temperature: Tensor, heads: int) -> Tensor:
    batch, channels, height, width = qkv.shape
    q, k, v = qkv.reshape(batch, 3, heads, channels // 3 // heads, height * width).unbind(1)
    cosines = torch.einsum("bhcp,bhdp->bhcd", functional.normalize(q, dim=-1), functional.normalize(k, dim=-1))
    attention = (cosines * temperature).softmax(-1)
    return torch.einsum("bhcd,bhdp->bhcp", attention, v).reshape(batch, channels // 3, height, width)


def plain_bottleneck(
    x: Tensor,
    down: Tensor,
    down_b: Any,
    depthwise: Tensor,
    depthwise_b: Any,
    up: Tensor,
    up_b: Any,
    scale: Tensor,
    base: Any = 0,
    injected: Any = 0,
    *,
    residual: bool = False,
) -> Tensor:
    reduced = functional.conv2d(x, down, down_b) + injected
    hidden = functional.conv2d(reduced, depthwise, depthwise_b, padding=1, groups=len(down))
    made = scale * functional.conv2d(functional.gelu(hidden), up, up_b)
    return (0 if base is None else base) + (x if residual else 0) + made


def alternating(x: Tensor) -> Tensor:
    """The second of three adapters, the first, none, and again; the third has no images."""
    return 1 - torch.arange(x.shape[0], device=x.device) % 3


def bottleneck_batch(x: Tensor, *stack: Any, index: Tensor | None = None, residual: bool = False) -> Tensor:
    return ops.bottleneck_batch(x, *stack, alternating(x) if index is None else index, residual=residual)


def plain_bottleneck_batch(x: Tensor, *stack: Any, index: Tensor | None = None, residual: bool = False) -> Tensor:
    rows = [0 * x[:0]]
    for image, adapter in zip(x, (alternating(x) if index is None else index).tolist(), strict=True):
        *chosen, up, up_b, scale = (None if value is None else value[adapter] for value in stack)
        # Scaled before the rounding to bfloat16, as the operator says.
        chosen += [scale * up, None if up_b is None else scale * up_b, 1]
        made = 0 * image[None] if adapter < 0 else plain_bottleneck(image[None], *chosen)
        rows.append(image + made if residual else made)
    unused = sum(0 * value.sum() for value in stack if value is not None)
    return torch.cat(rows) + unused


def low_rank_convolution(x: Tensor, *tensors: Any, index: Tensor | None = None, **geometry: int) -> Tensor:
    return ops.low_rank_convolution(x, *tensors, alternating(x) if index is None else index, **geometry)


def plain_low_rank_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    *,
    index: Tensor | None = None,
    **geometry: int,
) -> Tensor:
    rows = [functional.conv2d(x[:0], weight, bias, **geometry)]
    for image, adapter in zip(x, (alternating(x) if index is None else index).tolist(), strict=True):
        whole = weight.to(torch.promote_types(weight.dtype, torch.float32))
        if adapter >= 0:
            whole = whole + scale[adapter] * torch.einsum("or,rikl->oikl", b[adapter].to(whole), a[adapter].to(whole))
        rows.append(functional.conv2d(image[None], whole.to(weight.dtype), bias, **geometry))
    return torch.cat(rows) + 0 * (a.sum() + b.sum() + scale.sum())


def plain_low_rank(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    return weight + scale * torch.einsum("or,rikl->oikl", b, a)


def plain_feed_forward(
    x: Tensor, norm_w: Tensor, norm_b: Any, in_w: Tensor, in_b: Any, dw: Tensor, dw_b: Any, out_w: Tensor, out_b: Any
) -> Tensor:
    normalised = plain_bias_free_norm(x, norm_w) if norm_b is None else plain_biased_norm(x, norm_w, norm_b)
    gated = plain_gate(functional.conv2d(normalised, in_w, in_b), dw, dw_b)
    return x + functional.conv2d(gated, out_w, out_b)


def plain_attention_branch(
    x: Tensor,
    norm_w: Tensor,
    norm_b: Any,
    qkv_w: Tensor,
    qkv_b: Any,
    dw: Tensor,
    dw_b: Any,
    temperature: Tensor,
    out_w: Tensor,
    out_b: Any,
) -> Tensor:
    normalised = plain_bias_free_norm(x, norm_w) if norm_b is None else plain_biased_norm(x, norm_w, norm_b)
    qkv = functional.conv2d(functional.conv2d(normalised, qkv_w, qkv_b), dw, dw_b, padding=1, groups=len(dw))
    return x + functional.conv2d(plain_attention(qkv, temperature, len(temperature)), out_w, out_b)


CASES = [
    Case(
        "attention_branch",
        partial(ops.attention_branch, heads=2),
        plain_attention_branch,
        (
            *(IMAGE, (12,), (12,), (36, 12, 1, 1), (36,), (36, 1, 3, 3), (36,)),
            *((2, 1, 1), (12, 12, 1, 1), (12,)),
        ),
        extra=(1e-5, True, True),
    ),
    Case(
        "attention_branch",
        partial(ops.attention_branch, heads=1),
        plain_attention_branch,
        (IMAGE, (12,), None, (36, 12, 1, 1), None, (36, 1, 3, 3), None, (1, 1, 1), (12, 12, 1, 1), None),
        extra=(1e-5, True, False),
    ),
    Case(
        "feed_forward",
        ops.feed_forward,
        plain_feed_forward,
        (IMAGE, (12,), (12,), (10, 12, 1, 1), (10,), (10, 1, 3, 3), (10,), (12, 5, 1, 1), (12,)),
        extra=(1e-5, True, True),
    ),
    Case(
        "feed_forward",
        ops.feed_forward,
        plain_feed_forward,
        (IMAGE, (12,), None, (10, 12, 1, 1), None, (10, 1, 3, 3), None, (12, 5, 1, 1), None),
        extra=(1e-5, True, False),
    ),
    Case("layer_norm2d", ops.layer_norm2d, plain_biased_norm, (IMAGE, (12,), (12,)), extra=(1e-5,)),
    Case("layer_norm2d", ops.layer_norm2d, plain_bias_free_norm, (IMAGE, (12,)), extra=(None, 1e-5)),
    Case("depthwise", ops.depthwise, plain_depthwise, (IMAGE, (12, 1, 3, 3), (12,))),
    Case("depthwise", ops.depthwise, plain_depthwise, (IMAGE, (12, 1, 3, 3), None)),
    Case("depthwise_gate", ops.depthwise_gate, plain_gate, (IMAGE, (12, 1, 3, 3), (12,)), extra=(True,)),
    Case("depthwise_gate", ops.depthwise_gate, plain_gate, (IMAGE, (12, 1, 3, 3), None), extra=(False,)),
    Case("channel_attention", ops.channel_attention, plain_attention, (IMAGE, (1, 1, 1)), (1,)),
    Case("channel_attention", ops.channel_attention, plain_attention, (IMAGE, (2, 1, 1)), (2,)),
    Case(
        "bottleneck",
        ops.bottleneck,
        plain_bottleneck,
        (IMAGE, (3, 12, 1, 1), (3,), (3, 1, 3, 3), (3,), (12, 3, 1, 1), (12,), (1,), IMAGE),
        extra=(None, False),
    ),
    Case(
        "bottleneck",
        partial(ops.bottleneck, residual=True),
        partial(plain_bottleneck, residual=True),
        (IMAGE, (3, 12, 1, 1), (3,), (3, 1, 3, 3), (3,), (12, 3, 1, 1), (12,), (1,), IMAGE),
        extra=(None, True),
    ),
    Case(
        "bottleneck",
        ops.bottleneck,
        plain_bottleneck,
        (IMAGE, (12, 12, 1, 1), (12,), (12, 1, 3, 3), (12,), (12, 12, 1, 1), (12,), (1,), None, IMAGE),
        extra=(False,),
    ),
    Case(
        "bottleneck",
        ops.bottleneck,
        plain_bottleneck,
        (IMAGE, (3, 12, 1, 1), None, (3, 1, 3, 3), None, (12, 3, 1, 1), None, ()),
        extra=(None, None, False),
    ),
    Case(
        "bottleneck",
        partial(ops.bottleneck, residual=True),
        partial(plain_bottleneck, residual=True),
        (IMAGE, (3, 12, 1, 1), None, (3, 1, 3, 3), None, (12, 3, 1, 1), None, ()),
        extra=(None, None, True),
    ),
    Case(
        "bottleneck_batch",
        bottleneck_batch,
        plain_bottleneck_batch,
        (IMAGE, (3, 3, 12, 1, 1), (3, 3), (3, 3, 1, 3, 3), (3, 3), (3, 12, 3, 1, 1), (3, 12), (3,)),
        extra=(torch.tensor([-1, 2]), None, None, False),
    ),
    Case(
        "bottleneck_batch",
        partial(bottleneck_batch, residual=True),
        partial(plain_bottleneck_batch, residual=True),
        (IMAGE, (3, 3, 12, 1, 1), None, (3, 3, 1, 3, 3), None, (3, 12, 3, 1, 1), None, (3,)),
        extra=(torch.tensor([1, 0]), None, None, True),
    ),
    Case(
        "low_rank_convolution",
        low_rank_convolution,
        plain_low_rank_convolution,
        (IMAGE, (10, 12, 1, 1), (10,), (3, 2, 12, 1, 1), (3, 10, 2), (3,)),
        extra=(torch.tensor([-1, 2]), 1, 0, 1),
    ),
    Case(
        "low_rank_convolution",
        partial(low_rank_convolution, padding=1, groups=12),
        partial(plain_low_rank_convolution, padding=1, groups=12),
        (IMAGE, (12, 1, 3, 3), None, (3, 2, 1, 3, 3), (3, 12, 2), (3,)),
        extra=(torch.tensor([1, 0]), 1, 1, 12),
    ),
    Case(
        "low_rank_convolution",
        partial(low_rank_convolution, padding=1, stride=2),
        partial(plain_low_rank_convolution, padding=1, stride=2),
        (IMAGE, (5, 12, 3, 3), (5,), (3, 2, 12, 3, 3), (3, 5, 2), (3,)),
        extra=(torch.tensor([1, 1]), 2, 1, 1),
    ),
    Case("low_rank_weight", ops.low_rank_weight, plain_low_rank, ((6, 5, 3, 3), (2, 5, 3, 3), (6, 2)), (0.5,)),
    Case("low_rank_weight", ops.low_rank_weight, plain_low_rank, ((6, 1, 3, 3), (2, 1, 3, 3), (6, 2)), (2.0,)),
]
IMAGE_CASES = [case for case in CASES if case.shapes[0] == IMAGE]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
