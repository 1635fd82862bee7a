"""Parameters that are not the same for all images of a batch: each image is as if it were alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adair_core.ops import attention_branch, feed_forward
from adair_core.ops.native import library, refusal
from adair_core.ops.per_image import NotPerImageError, PerImage
from adair_core.ops.registration import KERNELS

needs_library = pytest.mark.skipif(not library().loaded, reason="the native library is not built")
COUNTS = (1, 2, 1)
HEADS = 3


def random(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def branch(name: str, channels: int, seed: int, *, biased: bool) -> list[Tensor | None]:
    """The parameters of a branch in the order of its operator."""
    attends = name == "attention_branch"
    wide, narrow = (3 * channels, channels) if attends else (2 * (channels + 1), channels + 1)
    shapes: list[tuple[int, ...]] = [(channels,), (channels,), (wide, channels, 1, 1), (wide,)]
    shapes += [(wide, 1, 3, 3), (wide,)]
    shapes += [(HEADS, 1, 1)] if attends else []
    shapes += [(channels, narrow, 1, 1), (channels,)]
    biases = {1, 3, 5, len(shapes) - 1}
    return [
        None if place in biases and not biased else random(*shape, seed=100 * seed + place, scale=0.4)
        for place, shape in enumerate(shapes)
    ]


def run(name: str, x: Tensor, parameters: list[Tensor | None], residual: bool = True) -> Tensor:
    if name == "attention_branch":
        return attention_branch(x, *parameters, heads=HEADS, residual=residual)
    return feed_forward(x, *parameters, residual=residual)


def per_image(sets: list[list[Tensor | None]], shared: set[int] = frozenset()) -> list[Tensor | None]:
    return [
        values[0] if place in shared or values[0] is None else PerImage(values, COUNTS)
        for place, values in enumerate(zip(*sets, strict=True))
    ]


@pytest.mark.parametrize("name", ["attention_branch", "feed_forward"])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (33, 18), (2, 67)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_are_as_if_alone(
    name: str, biased: bool, size: tuple[int, int], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    channels = 45
    x = random(4, channels, *size, seed=1).to(dtype).contiguous(memory_format=layout)
    sets = [
        [None if value is None else value.to(torch.promote_types(dtype, torch.float32)) for value in parameters]
        for parameters in (branch(name, channels, seed, biased=biased) for seed in range(3))
    ]
    # A LoRA on 1x1 convolutions leaves the others alone.
    shared = set() if biased else {0, 4}
    sets = [[sets[0][place] if place in shared else value for place, value in enumerate(own)] for own in sets]
    with torch.no_grad():
        together = run(name, x, per_image(sets, shared))
        assert together.is_contiguous(memory_format=layout)
        for image, own in enumerate([0, 1, 1, 2]):
            alone = run(name, x[image : image + 1], sets[own])
            # The kernels share images out among threads by their number: it must not show in the bits.
            if dtype == torch.float64:
                torch.testing.assert_close(together[image : image + 1], alone, rtol=1e-12, atol=1e-12)
            else:
                assert torch.equal(together[image : image + 1], alone)


@needs_library
@pytest.mark.parametrize("name", ["attention_branch", "feed_forward"])
def test_a_native_kernel_takes_the_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = random(4, 6, 5, 4, seed=1).float()
    assert refusal(KERNELS[name], x) is None
    native, calls = getattr(torch.ops.adair_native, name), []
    monkeypatch.setattr(torch.ops.adair_native, name, lambda *given: calls.append(given[1]) or native(*given))
    sets = [[value.float() for value in branch(name, 6, seed, biased=True)] for seed in range(3)]
    with torch.no_grad():
        run(name, x, per_image(sets))
    assert calls == [list(COUNTS)]


@pytest.mark.parametrize("name", ["attention_branch", "feed_forward"])
def test_gradients_reach_each_set(name: str) -> None:
    x = random(4, 6, 5, 4, seed=1).float().requires_grad_()
    sets = [[value.float().requires_grad_() for value in branch(name, 6, seed, biased=True)] for seed in range(3)]
    leaves = [x, *(value for own in sets for value in own)]
    together = torch.autograd.grad(run(name, x, per_image(sets)).square().sum(), leaves)
    shares = zip(torch.split(x, COUNTS), sets, strict=True)
    alone = torch.autograd.grad(sum(run(name, share, own).square().sum() for share, own in shares), leaves)
    for value, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolutions(layout: torch.memory_format) -> None:
    x = random(4, 6, 9, 8, seed=1).contiguous(memory_format=layout)
    weights = [random(4, 3, 3, 3, seed=seed) for seed in range(3)]
    biases = [random(4, seed=seed) for seed in range(3)]
    options = {"stride": 2, "padding": 1, "groups": 2}
    for bias in (PerImage(biases, COUNTS), biases[0], None):
        together = functional.conv2d(x, PerImage(weights, COUNTS), bias, **options)
        assert together.is_contiguous(memory_format=layout)
        for image, own in enumerate([0, 1, 1, 2]):
            own_bias = biases[own] if isinstance(bias, PerImage) else bias
            alone = functional.conv2d(x[image : image + 1], weights[own], own_bias, **options)
            torch.testing.assert_close(together[image : image + 1], alone, rtol=1e-12, atol=1e-12)


def test_what_has_no_single_answer_is_refused() -> None:
    weight = PerImage([random(4, 6, 1, 1, seed=seed) for seed in range(3)], COUNTS)
    assert weight.shape == (4, 6, 1, 1)
    assert (weight.dtype, weight.dim(), len(weight)) == (torch.float64, 4, 4)
    x = random(4, 6, 5, 4, seed=1)
    for use in (
        lambda: weight + 1,
        lambda: weight.flatten(1),
        lambda: weight.data,
        lambda: functional.linear(x[:, :, 0, 0], weight[:, :, 0, 0]),
        lambda: torch.einsum("oi,bihw->bohw", weight, x),
        lambda: weight.tolist(),
        lambda: functional.conv2d(x[:3], weight),
        lambda: functional.conv2d(torch.cat([x, x]), weight),
    ):
        with pytest.raises(NotPerImageError):
            use()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["attention_branch", "feed_forward"])
@pytest.mark.parametrize("channels", [45, 48, 120])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_images_are_as_if_alone_on_a_device(name: str, channels: int, dtype: torch.dtype) -> None:
    x = random(4, channels, 33, 18, seed=1).to("cuda", dtype)
    sets = [
        [value.to("cuda", torch.float32) for value in branch(name, channels, seed, biased=True)] for seed in range(3)
    ]
    with torch.no_grad():
        together = run(name, x, per_image(sets))
        for image, own in enumerate([0, 1, 1, 2]):
            alone = run(name, x[image : image + 1], sets[own])
            # The library's batched product adds in another order than its single one.
            tolerance = 1e-5 if dtype == torch.float32 else 4 * torch.finfo(dtype).eps
            error = (together[image : image + 1].double() - alone.double()).norm() / alone.double().norm()
            assert error <= tolerance
