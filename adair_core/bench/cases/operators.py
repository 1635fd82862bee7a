"""Each operator alone, beside what PyTorch offers for the same arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adair_core import ops
from adair_core.bench.case import Case, Precision, Size, Subject, bytes_of, dtype_of, flops_of, text_of
from adair_core.bench.cases.torch_rows import forward_and_backward, inference, our_rows, torch_rows

# Channels, height, width and heads: Restormer's levels 1 to 4, its last blocks, and an odd size.
SHAPES: dict[Size, tuple[tuple[int, int, int, int], ...]] = {
    "full": (
        (48, 256, 256, 1),
        (96, 256, 256, 1),
        (96, 128, 128, 2),
        (192, 64, 64, 4),
        (384, 32, 32, 8),
        (48, 131, 97, 1),
    ),
    "quick": ((48, 128, 128, 1), (96, 128, 128, 1), (384, 16, 16, 8), (48, 67, 49, 1)),
    "smoke": ((8, 11, 9, 2),),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
EXPANSION = 2.66
RANK = 8
IMAGES = 4
"""Of a batch in which each image has an adapter of its own."""

Shapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Operator:
    """An operator and its rival.

    Attributes:
        ours: adair's.
        plain: of PyTorch's operations, with the same arguments.
        shapes: from channels, height, width and heads to the shapes of the tensors.
        trained: arguments that get a gradient in an adapter's training step.
    """

    ours: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    shapes: Callable[[int, int, int, int], Shapes]
    trained: tuple[int, ...] = (0,)
    heads: bool = False


def plain_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer norm over channels by `torch.nn.functional.layer_norm`."""
    return functional.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weight, bias, 1e-5).permute(0, 3, 1, 2)


def plain_depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """Depthwise convolution."""
    return functional.conv2d(x, weight, padding=1, groups=x.shape[1])


def plain_gate(x: Tensor, weight: Tensor) -> Tensor:
    """Depthwise convolution, GELU and product."""
    a, b = plain_depthwise(x, weight).chunk(2, 1)
    return functional.gelu(a) * b


def plain_attention(qkv: Tensor, temperature: Tensor, *, heads: int) -> Tensor:
    """Attention across channels."""
    batch, channels, height, width = qkv.shape
    q, k, v = (part.reshape(batch, heads, channels // 3 // heads, height * width) for part in qkv.chunk(3, 1))
    q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
    attention = (q @ k.transpose(-2, -1) * temperature).softmax(-1)
    return (attention @ v).reshape(batch, channels // 3, height, width)


def plain_feed_forward(x: Tensor, norm: Tensor, bias: Tensor, enter: Tensor, middle: Tensor, leave: Tensor) -> Tensor:
    """Compute x + GDFN(LN x)."""
    return x + functional.conv2d(plain_gate(functional.conv2d(plain_norm(x, norm, bias), enter), middle), leave)


def plain_attention_branch(
    x: Tensor,
    norm: Tensor,
    bias: Tensor,
    qkv: Tensor,
    middle: Tensor,
    temperature: Tensor,
    leave: Tensor,
    *,
    heads: int,
) -> Tensor:
    """Compute x + MDTA(LN x)."""
    mixed = plain_depthwise(functional.conv2d(plain_norm(x, norm, bias), qkv), middle)
    return x + functional.conv2d(plain_attention(mixed, temperature, heads=heads), leave)


def plain_bottleneck(
    x: Tensor, down: Tensor, down_b: Tensor, middle: Tensor, middle_b: Tensor, up: Tensor, up_b: Tensor, scale: Tensor
) -> Tensor:
    """The residual of a bottleneck adapter."""
    reduced = functional.conv2d(x, down, down_b)
    hidden = functional.gelu(functional.conv2d(reduced, middle, middle_b, padding=1, groups=len(middle)))
    return scale * functional.conv2d(hidden, up, up_b)


def plain_low_rank(weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """W + B A."""
    return weight + (b.flatten(1) @ a.flatten(1)).view(weight.shape)


def plain_low_rank_convolution(x: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """LoRA beside a 1x1 convolution, image by image, each with its own factors."""
    images = [
        functional.conv2d(image, weight) + functional.conv2d(functional.conv2d(image, down), up[:, :, None, None])
        for image, down, up in zip(torch.split(x, 1), a, b, strict=True)
    ]
    return torch.cat(images)


def plain_bottleneck_batch(x: Tensor, *parameters: Tensor) -> Tensor:
    """The residuals of bottleneck adapters, image by image."""
    images = torch.split(x, 1)
    return torch.cat([plain_bottleneck(image, *own) for image, *own in zip(images, *parameters, strict=True)])


def _our_low_rank_convolution(x: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return ops.low_rank_convolution(x, weight, None, a, b, torch.ones(IMAGES, dtype=a.dtype), torch.arange(IMAGES))


def _our_bottleneck_batch(
    x: Tensor, down: Tensor, down_b: Tensor, middle: Tensor, middle_b: Tensor, up: Tensor, up_b: Tensor, scale: Tensor
) -> Tensor:
    return ops.bottleneck_batch(x, down, down_b, middle, middle_b, up, up_b, scale, torch.arange(IMAGES))


def _our_feed_forward(x: Tensor, norm: Tensor, bias: Tensor, enter: Tensor, middle: Tensor, leave: Tensor) -> Tensor:
    return ops.feed_forward(x, norm, bias, enter, None, middle, None, leave, None)


def _our_attention_branch(
    x: Tensor,
    norm: Tensor,
    bias: Tensor,
    qkv: Tensor,
    middle: Tensor,
    temperature: Tensor,
    leave: Tensor,
    *,
    heads: int,
) -> Tensor:
    return ops.attention_branch(x, norm, bias, qkv, None, middle, None, temperature, leave, None, heads=heads)


def _hidden(channels: int) -> int:
    return int(channels * EXPANSION)


OPERATORS: dict[str, Operator] = {
    "layer_norm2d": Operator(ops.layer_norm2d, plain_norm, lambda c, h, w, _: ((1, c, h, w), (c,), (c,))),
    "depthwise": Operator(ops.depthwise, plain_depthwise, lambda c, h, w, _: ((1, 3 * c, h, w), (3 * c, 1, 3, 3))),
    "depthwise_gate": Operator(
        ops.depthwise_gate, plain_gate, lambda c, h, w, _: ((1, 2 * _hidden(c), h, w), (2 * _hidden(c), 1, 3, 3))
    ),
    "channel_attention": Operator(
        ops.channel_attention, plain_attention, lambda c, h, w, n: ((1, 3 * c, h, w), (n, 1, 1)), heads=True
    ),
    "feed_forward": Operator(
        _our_feed_forward,
        plain_feed_forward,
        lambda c, h, w, _: (
            *((1, c, h, w), (c,), (c,), (2 * _hidden(c), c, 1, 1)),
            *((2 * _hidden(c), 1, 3, 3), (c, _hidden(c), 1, 1)),
        ),
    ),
    "attention_branch": Operator(
        _our_attention_branch,
        plain_attention_branch,
        lambda c, h, w, n: (
            *((1, c, h, w), (c,), (c,), (3 * c, c, 1, 1)),
            *((3 * c, 1, 3, 3), (n, 1, 1), (c, c, 1, 1)),
        ),
        heads=True,
    ),
    "bottleneck": Operator(
        ops.bottleneck,
        plain_bottleneck,
        lambda c, h, w, _: (
            *((1, c, h, w), (RANK, c, 1, 1), (RANK,), (RANK, 1, 3, 3), (RANK,)),
            *((c, RANK, 1, 1), (c,), (1,)),
        ),
        trained=tuple(range(8)),
    ),
    "bottleneck_batch": Operator(
        _our_bottleneck_batch,
        plain_bottleneck_batch,
        lambda c, h, w, _: (
            *((IMAGES, c, h, w), (IMAGES, RANK, c, 1, 1), (IMAGES, RANK), (IMAGES, RANK, 1, 3, 3), (IMAGES, RANK)),
            *((IMAGES, c, RANK, 1, 1), (IMAGES, c), (IMAGES,)),
        ),
        trained=tuple(range(8)),
    ),
    "low_rank_convolution": Operator(
        _our_low_rank_convolution,
        plain_low_rank_convolution,
        lambda c, h, w, _: (
            *((IMAGES, c, h, w), (3 * c, c, 1, 1)),
            *((IMAGES, RANK, c, 1, 1), (IMAGES, 3 * c, RANK)),
        ),
        trained=(0, 2, 3),
    ),
    "low_rank_weight": Operator(
        lambda weight, a, b: ops.low_rank_weight(weight, a, b, 1.0),
        plain_low_rank,
        lambda c, *_: ((3 * c, c, 1, 1), (RANK, c, 1, 1), (3 * c, RANK, 1, 1)),
        trained=(1, 2),
    ),
}


def cases(size: Size) -> list[Case]:
    """Every operator in every shape, forward, and forward and backward as in an adapter's training step."""
    return list(_cases(size))


def _cases(size: Size) -> Iterator[Case]:
    for name, operator in OPERATORS.items():
        seen: set[str] = set()
        for shape in SHAPES[size]:
            shown = text_of(operator.shapes(*shape)[0])
            if shown in seen:  # weights do not depend on the image's size
                continue
            seen.add(shown)
            for precision in PRECISIONS:
                for trains in (False, True):
                    what = f"{name} forward+backward" if trains else name
                    make = partial(_subject, operator, shape, precision, trains)
                    yield Case("op", what, shown, precision, make)


def _subject(operator: Operator, shape: tuple[int, int, int, int], precision: Precision, trains: bool) -> Subject:
    generator = torch.Generator().manual_seed(0)
    shapes = operator.shapes(*shape)
    exact = [_random(size, generator, images=index == 0) for index, size in enumerate(shapes)]
    tensors = [value.to(dtype_of(precision)) for value in exact]
    rounded = [value.double() for value in tensors]
    constants: dict[str, Any] = {"heads": shape[3]} if operator.heads else {}
    ours = partial(operator.ours, **constants)
    plain = partial(operator.plain, **constants)
    timed = forward_and_backward(precision, operator.trained) if trains else inference(precision)
    moved = bytes_of(tensors) + tensors[0].numel() * tensors[0].element_size()
    return Subject(
        rows={**torch_rows(plain, tensors, timed), **our_rows(ours, tensors, timed)},
        exact=timed(plain, rounded),
        flops=flops_of(timed(plain, tensors)),
        bytes=2 * moved if trains else moved,
    )


def _random(shape: tuple[int, ...], generator: torch.Generator, *, images: bool) -> Tensor:
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    if images or len(shape) < 4:
        return values
    fan = math.prod(shape[-3:])
    return values / math.sqrt(fan)
