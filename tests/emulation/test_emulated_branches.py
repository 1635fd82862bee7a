"""What the branches are composed of on a CUDA device, with emulated kernels, against the references in float64."""

from __future__ import annotations

from typing import Any

import emulated_kernels
import pytest
import torch
from checks import double, normal, require_close
from torch import Tensor

from adair_core.ops import pixel_steps
from adair_core.ops.attention_branch import cuda as attention_cuda
from adair_core.ops.attention_branch import reference as attention
from adair_core.ops.channel_attention import native as channel_native
from adair_core.ops.channel_attention import reference as channel
from adair_core.ops.feed_forward import cuda as feed_forward_cuda
from adair_core.ops.feed_forward import reference as feed_forward
from adair_core.ops.per_image import PerImage

LAYOUTS = [torch.contiguous_format, torch.channels_last]
TOLERANCE = 2e-5
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=["channels_first", "channels_last"])


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_steps, "kernels", emulated_kernels)


def parameters(shapes: list[tuple[int, ...]], bare: bool, biases: tuple[int, ...]) -> list[Tensor | None]:
    made: list[Tensor | None] = [normal(*shape, seed=place, scale=0.4) for place, shape in enumerate(shapes)]
    return [None if bare and place in biases else value for place, value in enumerate(made)]


def compare(found: tuple[Any, ...], truth: tuple[Any, ...], layout: torch.memory_format | None = None) -> None:
    assert len(found) == len(truth)
    for place, (value, expected) in enumerate(zip(found, truth, strict=True)):
        assert value.dtype == torch.float32
        if expected.numel() == 0:
            assert value.numel() == 0
            continue
        require_close(value, expected, TOLERANCE, f"result {place}")
    if layout is not None:
        assert found[0].is_contiguous(memory_format=layout)


def check(
    kernels: Any, reference: Any, x: Tensor, given: list[Tensor | None], kept: int, needs: list[list[bool]], bare: bool
) -> None:
    """Forward and backward; `kept` is how many results the backward pass gets."""
    layout = torch.channels_last if not x.is_contiguous() else torch.contiguous_format
    forward, backward = reference
    wide = [double(value) for value in given]
    arguments, wide_arguments = (*given, 1e-3, not bare), (*wide, 1e-3, not bare)
    compare(kernels.FORWARD.run(x, *arguments, False)[:1], forward(x.double(), *wide_arguments, False)[:1], layout)
    found, truth = kernels.FORWARD.run(x, *arguments, True), forward(x.double(), *wide_arguments, True)
    compare(found, truth, layout)
    gradient = normal(*x.shape, seed=40).to(memory_format=layout)
    for wanted in needs:
        to = kernels.BACKWARD.run(gradient, x, *arguments, *found[1 : 1 + kept], wanted)
        expected = backward(gradient.double(), x.double(), *wide_arguments, *truth[1 : 1 + kept], wanted)
        compare(to, expected)


@each_layout
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "whole"])
def test_attention_branch(bare: bool, layout: torch.memory_format) -> None:
    c, heads = 8, 2
    x = normal(2, c, 5, 6).to(memory_format=layout)
    shapes = [(c,), (c,), (3 * c, c, 1, 1), (3 * c,), (3 * c, 1, 3, 3), (3 * c,), (heads, 1, 1), (c, c, 1, 1), (c,)]
    given = parameters(shapes, bare, (1, 3, 5, 8))
    reference = (attention.attention_branch, attention.attention_branch_backward)
    needs = [[True] * 10, [True] + [False] * 9, [False] * 5 + [True] * 2 + [False] * 3, [False] * 7 + [True] * 3]
    check(attention_cuda, reference, x, given, 3, needs, bare)


@each_layout
@pytest.mark.parametrize("channels", [6, 100], ids=["in tiles", "composed"])
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "whole"])
def test_feed_forward(bare: bool, channels: int, layout: torch.memory_format) -> None:
    c, h = channels, 5
    x = normal(2, c, 3, 4).to(memory_format=layout)
    shapes = [(c,), (c,), (2 * h, c, 1, 1), (2 * h,), (2 * h, 1, 3, 3), (2 * h,), (c, h, 1, 1), (c,)]
    given = parameters(shapes, bare, (1, 3, 5, 7))
    reference = (feed_forward.feed_forward, feed_forward.feed_forward_backward)
    needs = [[True] * 9, [True] + [False] * 8, [False] * 5 + [True] * 2 + [False] * 2, [False] * 7 + [True] * 2]
    check(feed_forward_cuda, reference, x, given, 1, needs, bare)


@pytest.mark.parametrize(("hidden", "wide"), [(5, 8), (8, 8), (9, 12)])
def test_feed_forward_is_widened_to_whole_vectors(hidden: int, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    c, h = 100, hidden
    shapes = [(c,), (c,), (2 * h, c, 1, 1), (2 * h,), (2 * h, 1, 3, 3), (2 * h,), (c, h, 1, 1), (c,)]
    x, given = normal(2, c, 3, 4), parameters(shapes, False, ())
    widths = []

    def gate(hidden: Tensor, *arguments: Any) -> None:
        widths.append(hidden.shape[3])
        depthwise_gate(hidden, *arguments)

    depthwise_gate = emulated_kernels.depthwise_gate
    monkeypatch.setattr(emulated_kernels, "depthwise_gate", gate)
    wide_given = [double(value) for value in given]
    for keep in (False, True):
        found = feed_forward_cuda.FORWARD.run(x, *given, 1e-3, True, keep)
        compare(found, feed_forward.feed_forward(x.double(), *wide_given, 1e-3, True, keep))
    assert widths == [2 * wide, 2 * hidden]  # what is kept has the width that the operator says


def test_feed_forward_convolves_again_for_the_backward_pass() -> None:
    c, h = 6, 5
    x, gradient = normal(1, c, 3, 4), normal(1, c, 3, 4, seed=1)
    shapes = [(c,), (c,), (2 * h, c, 1, 1), (2 * h,), (2 * h, 1, 3, 3), (2 * h,), (c, h, 1, 1), (c,)]
    given = parameters(shapes, False, ())
    needs = [True] * 9
    found = feed_forward_cuda.BACKWARD.run(gradient, x, *given, 1e-3, True, None, needs)
    wide = [double(value) for value in given]
    compare(found, feed_forward.feed_forward_backward(gradient.double(), x.double(), *wide, 1e-3, True, None, needs))


COUNTS = (1, 2, 1)


@each_layout
@pytest.mark.parametrize("shared", [(), (0, 1, 4, 5, 6), (2, 3, 7, 8)], ids=["all differ", "products", "the others"])
@pytest.mark.parametrize("case", ["attention", "feed-forward in tiles", "feed-forward, composed"])
def test_images_with_parameters_of_their_own(case: str, shared: tuple[int, ...], layout: torch.memory_format) -> None:
    c, h, heads = 100 if case.endswith("composed") else 8, 5, 2
    attends = case == "attention"
    wide = 3 * c if attends else 2 * h
    shapes = [(c,), (c,), (wide, c, 1, 1), (wide,), (wide, 1, 3, 3), (wide,)]
    shapes += [(heads, 1, 1), (c, c, 1, 1), (c,)] if attends else [(c, h, 1, 1), (c,)]
    sets = [parameters(shapes, False, ()) for _ in COUNTS]
    for number, values in enumerate(sets[1:], 1):
        values[:] = [first if place in shared else first + number * 0.3 for place, first in enumerate(sets[0])]
    x = normal(sum(COUNTS), c, 3, 4).to(memory_format=layout)
    given = [own[0] if place in shared else PerImage(own, COUNTS) for place, own in enumerate(zip(*sets, strict=True))]
    with torch.no_grad():
        kernels = attention_cuda if attends else feed_forward_cuda
        found = kernels.FORWARD.run(x, *given, 1e-3, True, False)[0]
    assert found.is_contiguous(memory_format=layout)
    reference = attention.attention_branch if attends else feed_forward.feed_forward
    for image, number in enumerate([0, 1, 1, 2]):
        alone = reference(x[image : image + 1].double(), *map(double, sets[number]), 1e-3, True, False)[0]
        require_close(found[image : image + 1], alone, TOLERANCE, f"image {image}")


@each_layout
def test_channel_attention(layout: torch.memory_format) -> None:
    qkv, temperature = normal(2, 12, 5, 6).to(memory_format=layout), normal(2, 1, 1) + 2
    found = channel_native.FORWARD.run(qkv, temperature, 2)
    truth = channel.channel_attention(qkv.double(), temperature.double(), 2)
    compare(found, truth, layout)
    gradient = normal(2, 4, 5, 6, seed=1).to(memory_format=layout)
    to = channel_native.BACKWARD.run(gradient, qkv, temperature, *found[1:])
    expected = channel.channel_attention_backward(gradient.double(), qkv.double(), temperature.double(), *truth[1:])
    compare(to, expected, layout)
