"""Operators with drawn sizes, options, dtypes and strides, for hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from operator_cases import (
    Case,
    bottleneck_batch,
    low_rank_convolution,
    plain_attention,
    plain_attention_branch,
    plain_bias_free_norm,
    plain_biased_norm,
    plain_bottleneck,
    plain_bottleneck_batch,
    plain_depthwise,
    plain_feed_forward,
    plain_gate,
    plain_low_rank,
    plain_low_rank_convolution,
)
from torch import Tensor

from adair_core import ops

Draw = Any
Shape = tuple[int, ...]

# Around the lanes of vectors (4, 8, 16), the rows of a block (8) and the sides of tiles.
SIDES = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65, 130]
CHANNELS = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 24, 31, 32, 33, 48, 50]
MOST_PIXELS = 700

LAYOUTS = ["contiguous", "channels last", "transposed", "sliced", "offset", "expanded"]
DTYPES = [torch.float32, torch.float32, torch.bfloat16, torch.bfloat16, torch.float64]


@dataclass(frozen=True)
class Example:
    """A call.

    Attributes:
        case: the operator and the shapes.
        dtype: of the images.
        wide: whether the parameters are float32 where images are bfloat16.
        layouts: how each tensor lies in memory, and the gradient last.
        needs: which tensors get a gradient; the images do if no other does.
        seed: of the values.
    """

    case: Case
    dtype: torch.dtype
    wide: bool
    layouts: tuple[str, ...]
    needs: tuple[bool, ...]
    seed: int

    def values(self) -> list[Any]:
        """The tensors, in float64 and rounded to the dtypes that they are given in."""
        generator = torch.Generator().manual_seed(self.seed)
        made: list[Any] = []
        for place, shape in enumerate(self.case.shapes):
            if shape is None:
                made.append(None)
                continue
            value = torch.randn(shape, generator=generator, dtype=torch.float64)
            if place > 0 and len(shape) >= 4:  # so that results stay about as large as images
                value = value / max(1, value[0].numel()) ** 0.5
            made.append(value.to(self._dtype(place)).double())
        return made

    def tensors(self, values: list[Any]) -> list[Any]:
        """Leaves of these values in the drawn dtypes and layouts."""
        found = []
        for place, (value, layout, need) in enumerate(zip(values, self.layouts, self.needs, strict=False)):
            laid = None if value is None else arranged(value.to(self._dtype(place)), layout)
            found.append(laid if laid is None else laid.requires_grad_(need))
        return found

    def gradient(self, output: Tensor) -> Tensor:
        """A gradient for the output, in the drawn layout."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        values = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        return arranged(values.to(output.dtype), self.layouts[-1])

    def _dtype(self, place: int) -> torch.dtype:
        return torch.float32 if self.wide and place > 0 and self.dtype == torch.bfloat16 else self.dtype


def arranged(value: Tensor, layout: str) -> Tensor:
    """The values in a layout; ``expanded`` repeats the first element of a dimension, and changes them."""
    if layout == "channels last" and value.dim() == 4:
        return value.contiguous(memory_format=torch.channels_last)
    if layout == "transposed" and value.dim() > 1:
        return value.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "sliced" and value.dim() > 0:
        room = value.new_full((*value.shape[:-1], 2 * value.shape[-1]), float("nan"))
        room[..., ::2] = value
        return room[..., ::2]
    if layout == "offset":
        room = value.new_full((value.numel() + 3,), float("nan"))
        room[3:] = value.flatten()
        return room[3:].view(value.shape)
    if layout == "expanded" and value.dim() > 0:
        # The last dimension that has more than one element; of images the batch, too.
        first = value[..., :1]
        return first.expand(value.shape)
    return value.contiguous()


def as_given(value: Tensor, layout: str) -> Tensor:
    """The values that `arranged` makes, densely."""
    return arranged(value, layout).clone(memory_format=torch.contiguous_format)


@st.composite
def image_shapes(draw: Draw, multiple: int = 1) -> Shape:
    height = draw(st.sampled_from(SIDES))
    width = draw(st.sampled_from([side for side in SIDES if side * height <= MOST_PIXELS]))
    return draw(st.integers(1, 3)), multiple * draw(st.sampled_from(CHANNELS)), height, width


def maybe(draw: Draw, shape: Shape) -> Shape | None:
    return shape if draw(st.booleans()) else None


def layer_norm2d(draw: Draw) -> Case:
    shape = draw(image_shapes())
    channels = (shape[1],)
    if draw(st.booleans()):
        return Case("layer_norm2d", ops.layer_norm2d, plain_biased_norm, (shape, channels, channels))
    return Case("layer_norm2d", ops.layer_norm2d, plain_bias_free_norm, (shape, channels))


def depthwise(draw: Draw) -> Case:
    shape = draw(image_shapes())
    shapes = (shape, (shape[1], 1, 3, 3), maybe(draw, (shape[1],)))
    return Case("depthwise", ops.depthwise, plain_depthwise, shapes)


def depthwise_gate(draw: Draw) -> Case:
    shape = draw(image_shapes(2))
    shapes = (shape, (shape[1], 1, 3, 3), maybe(draw, (shape[1],)))
    return Case("depthwise_gate", ops.depthwise_gate, plain_gate, shapes)


def draw_heads(draw: Draw, channels: int) -> int:
    return draw(st.sampled_from([n for n in (1, 2, 3, 4, 8) if channels % n == 0]))


def channel_attention(draw: Draw) -> Case:
    shape = draw(image_shapes(3))
    heads = draw_heads(draw, shape[1] // 3)
    return Case("channel_attention", ops.channel_attention, plain_attention, (shape, (heads, 1, 1)), (heads,))


def attention_branch(draw: Draw) -> Case:
    shape = draw(image_shapes())
    c = shape[1]
    heads, residual = draw_heads(draw, c), draw(st.booleans())
    shapes = (
        *(shape, (c,), maybe(draw, (c,)), (3 * c, c, 1, 1), maybe(draw, (3 * c,)), (3 * c, 1, 3, 3)),
        *(maybe(draw, (3 * c,)), (heads, 1, 1), (c, c, 1, 1), maybe(draw, (c,))),
    )
    operator = partial(ops.attention_branch, heads=heads, residual=residual)
    return Case("attention_branch", operator, bare(plain_attention_branch, residual), shapes)


def feed_forward(draw: Draw) -> Case:
    shape = draw(image_shapes())
    c, hidden, residual = shape[1], draw(st.sampled_from(CHANNELS)), draw(st.booleans())
    shapes = (
        *(shape, (c,), maybe(draw, (c,)), (2 * hidden, c, 1, 1), maybe(draw, (2 * hidden,))),
        *((2 * hidden, 1, 3, 3), maybe(draw, (2 * hidden,)), (c, hidden, 1, 1), maybe(draw, (c,))),
    )
    operator = partial(ops.feed_forward, residual=residual)
    return Case("feed_forward", operator, bare(plain_feed_forward, residual), shapes)


def bare(plain: Any, residual: bool) -> Any:
    """A plain branch with or without x."""

    def without(x: Tensor, *parameters: Any) -> Tensor:
        return plain(x, *parameters) - x

    return plain if residual else without


def bottleneck(draw: Draw) -> Case:
    shape = draw(image_shapes())
    c, rank = shape[1], draw(st.integers(1, 19))
    shapes = (
        *(shape, (rank, c, 1, 1), maybe(draw, (rank,)), (rank, 1, 3, 3), maybe(draw, (rank,)), (c, rank, 1, 1)),
        *(maybe(draw, (c,)), draw(st.sampled_from([(), (1,)]))),
    )
    if draw(st.booleans()):
        shapes = (*shapes, shape)
    residual = draw(st.booleans())
    operators = (partial(function, residual=residual) for function in (ops.bottleneck, plain_bottleneck))
    return Case("bottleneck", *operators, shapes)


def draw_index(draw: Draw, images: int, adapters: int) -> Tensor:
    return torch.tensor(draw(st.lists(st.integers(-1, adapters - 1), min_size=images, max_size=images)))


def bottlenecks(draw: Draw) -> Case:
    shape = draw(image_shapes())
    c, rank, k = shape[1], draw(st.integers(1, 19)), draw(st.integers(1, 4))
    index = draw_index(draw, shape[0], k)
    shapes = (
        *(shape, (k, rank, c, 1, 1), maybe(draw, (k, rank)), (k, rank, 1, 3, 3), maybe(draw, (k, rank))),
        *((k, c, rank, 1, 1), maybe(draw, (k, c)), (k,)),
    )
    options = {"index": index, "residual": draw(st.booleans())}
    operators = (partial(function, **options) for function in (bottleneck_batch, plain_bottleneck_batch))
    return Case("bottleneck_batch", *operators, shapes)


def convolutions(draw: Draw) -> Case:
    shape = draw(image_shapes())
    c, rank, k = shape[1], draw(st.integers(1, 9)), draw(st.integers(1, 4))
    kind = draw(st.sampled_from(["pointwise", "depthwise", "grouped", "dense", "strided"]))
    groups = c if kind == "depthwise" else 2 if kind == "grouped" and c % 2 == 0 else 1
    side = 1 if kind == "pointwise" else 3
    out = c if groups > 1 else draw(st.sampled_from(CHANNELS))
    geometry = {"stride": 2 if kind == "strided" else 1, "padding": side // 2, "groups": groups}
    index = draw_index(draw, shape[0], k)
    inner = (c // groups, side, side)
    shapes = (shape, (out, *inner), maybe(draw, (out,)), (k, rank, *inner), (k, out, rank), (k,))
    both = (low_rank_convolution, plain_low_rank_convolution)
    operators = (partial(function, index=index, **geometry) for function in both)
    return Case("low_rank_convolution", *operators, shapes)


def low_rank_weight(draw: Draw) -> Case:
    out, inner, rank, side = (draw(st.sampled_from(values)) for values in (CHANNELS, CHANNELS, [1, 2, 5, 8], [1, 3]))
    shapes = ((out, inner, side, side), (rank, inner, side, side), (out, rank))
    return Case("low_rank_weight", ops.low_rank_weight, plain_low_rank, shapes, (draw(st.sampled_from([0.5, 2.0])),))


OPERATORS = {
    "layer_norm2d": layer_norm2d,
    "depthwise": depthwise,
    "depthwise_gate": depthwise_gate,
    "channel_attention": channel_attention,
    "attention_branch": attention_branch,
    "feed_forward": feed_forward,
    "bottleneck": bottleneck,
    "bottleneck_batch": bottlenecks,
    "low_rank_convolution": convolutions,
    "low_rank_weight": low_rank_weight,
}


@st.composite
def examples(draw: Draw, name: str) -> Example:
    """Draw a call of an operator."""
    case = OPERATORS[name](draw)
    count = len(case.shapes)
    needs = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    needs = [need and shape is not None for need, shape in zip(needs, case.shapes, strict=True)]
    return Example(
        case=case,
        dtype=draw(st.sampled_from(DTYPES)),
        wide=draw(st.booleans()),
        layouts=tuple(draw(st.lists(st.sampled_from(LAYOUTS), min_size=count + 1, max_size=count + 1))),
        needs=tuple(needs if any(needs) else [True, *needs[1:]]),
        seed=draw(st.integers(0, 2**20)),
    )
