"""The bare convolution: values, bits, what is kept for the backward pass, shares of a batch, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from adair_core.errors import UsageError
from adair_core.ops import depthwise
from adair_core.ops.native import library
from adair_core.ops.per_image import NotPerImageError, PerImage
from adair_core.ops.registration import KERNELS

LAYOUTS = [torch.contiguous_format, torch.channels_last]
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout).removeprefix("torch."))


def test_values_from_scipy() -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(1, 3, 6, 5)), rng.normal(size=(3, 1, 3, 3)), rng.normal(size=3)
    truth = np.stack([ndimage.correlate(x[0, c], weight[c, 0], mode="constant") + bias[c] for c in range(3)])
    found = depthwise(*map(torch.from_numpy, (x, weight, bias)))
    np.testing.assert_allclose(found[0].numpy(), truth, rtol=1e-12, atol=1e-12)


@each_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("side", [(1, 1), (1, 2), (2, 1), (3, 2), (33, 3), (34, 67)])
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 33, 64])
def test_small_and_large_integers_are_exact(
    channels: int, side: tuple[int, int], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """Sums of nine small integers have no rounding in float32, nor up to 256 in bfloat16, whatever their order."""
    generator = torch.Generator().manual_seed(channels)
    x = torch.randint(-5, 6, (2, channels, *side), generator=generator)
    weight = torch.randint(-3, 4, (channels, 1, 3, 3), generator=generator)
    bias = torch.randint(-9, 10, (channels,), generator=generator)
    truth = functional.conv2d(x.double(), weight.double(), bias.double(), padding=1, groups=channels)
    given = x.to(dtype).contiguous(memory_format=layout)
    assert torch.equal(depthwise(given, weight.to(dtype), bias.to(dtype)).double(), truth)


@each_layout
@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_weight_keeps_no_input(frozen: bool, layout: torch.memory_format) -> None:
    x = torch.randn(1, 8, 16, 16).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(8, 1, 3, 3, requires_grad=not frozen)
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        output = depthwise(x, weight)
    assert [value.shape for value in saved] == ([weight.shape] if frozen else [x.shape, weight.shape])
    # The layout of the gradient is that of the input, which is no longer there to ask.
    (to_x,) = torch.autograd.grad(output, x, torch.randn(1, 8, 16, 16))
    assert to_x.is_contiguous(memory_format=layout)


def test_second_derivatives_with_a_frozen_weight() -> None:
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda image: depthwise(image, weight).sin(), (x,))


def test_third_derivatives() -> None:
    x = torch.randn(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)

    def slope(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        output = depthwise(image, kernel)
        return torch.autograd.grad(output.square().sum(), image, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(slope, (x, weight))


@each_layout
def test_images_with_parameters_of_their_own(layout: torch.memory_format) -> None:
    x = torch.randn(3, 5, 6, 7).contiguous(memory_format=layout)
    weights, biases = torch.randn(2, 5, 1, 3, 3), torch.randn(2, 5)
    found = depthwise(x, PerImage(tuple(weights), (1, 2)), PerImage(tuple(biases), (1, 2)))
    truth = torch.cat([depthwise(x[:1], weights[0], biases[0]), depthwise(x[1:], weights[1], biases[1])])
    assert torch.equal(found, truth)
    assert found.is_contiguous(memory_format=layout)
    with pytest.raises(NotPerImageError, match="a batch of 2 with parameters for"):
        depthwise(x[:2], PerImage(tuple(weights), (1, 2)))


@pytest.mark.skipif(not library().loaded, reason="the native library is not built")
@each_layout
def test_the_order_of_additions_is_that_of_one_vector_whatever_lies_beside_it(layout: torch.memory_format) -> None:
    """Pixels in pairs of rows, single rows and at borders, and channels of vectors that overlap, give the same bits."""
    x = torch.randn(1, 37, 35, 50).contiguous(memory_format=layout)
    weight, bias = torch.randn(37, 1, 3, 3), torch.randn(37)
    whole = depthwise(x, weight, bias)
    part = depthwise(x[:, :, 4:24, 7:31].contiguous(memory_format=layout), weight, bias)
    assert torch.equal(part[:, :, 1:-1, 1:-1], whole[:, :, 5:23, 8:30])


@pytest.mark.skipif(not library().loaded, reason="the native library is not built")
@each_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_number_of_threads_changes_no_bit_of_wide_images(dtype: torch.dtype, layout: torch.memory_format) -> None:
    leaves = [torch.randn(shape).to(dtype) for shape in ((2, 37, 67, 45), (37, 1, 3, 3), (37,))]
    leaves[0] = leaves[0].contiguous(memory_format=layout)
    gradient, found, before = torch.randn(2, 37, 67, 45).to(dtype), [], torch.get_num_threads()
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            wanted = [value.detach().requires_grad_() for value in leaves]
            output = depthwise(*wanted)
            found.append([output.detach(), *torch.autograd.grad(output, wanted, gradient)])
    finally:
        torch.set_num_threads(before)
    for one, two, again in zip(*found, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, again)


def test_many_pixels_of_few_channels_are_the_library_s() -> None:
    weight = torch.zeros(8, 1, 3, 3)
    small, large = (torch.zeros(1, 8, side, side).contiguous(memory_format=torch.channels_last) for side in (64, 256))
    forward, backward = KERNELS["depthwise"].refusal, KERNELS["depthwise_backward"].refusal
    few = "channels last, PyTorch's convolution is faster for many pixels of few channels"
    assert [forward(x, weight, None) for x in (small, large, large.contiguous())] == [None, few, None]
    needs = [True, False, False]
    assert [backward(x, None, weight, True, needs) for x in (small, large, large.bfloat16())] == [None, few, None]
    assert backward(large, None, weight, False, needs) is None
    wide = torch.zeros(1, 16, 256, 256).contiguous(memory_format=torch.channels_last)
    assert forward(wide, torch.zeros(16, 1, 3, 3), None) is None


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((3, 4, 4), (3, 1, 3, 3), None, r"depthwise: x: expected a floating-point tensor \(B, C, H, W\)"),
        ((1, 4, 4, 4), (4, 1, 5, 5), None, r"weight: expected shape \(4, 1, 3, 3\), got \(4, 1, 5, 5\)"),
        ((1, 4, 4, 4), (8, 1, 3, 3), None, r"weight: expected shape \(4, 1, 3, 3\), got \(8, 1, 3, 3\)"),
        ((1, 4, 4, 4), (4, 1, 3, 3), (2,), r"bias: expected shape \(4,\), got \(2,\)"),
    ],
)
def test_wrong_shapes_are_refused(x: tuple[int, ...], weight: tuple[int, ...], bias: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        depthwise(torch.zeros(x), torch.zeros(weight), None if bias is None else torch.zeros(bias))
