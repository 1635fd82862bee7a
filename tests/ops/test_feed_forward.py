"""The feed-forward branch: values, what is kept for the backward pass, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, special
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adair_core.errors import UsageError
from adair_core.ops import feed_forward
from adair_core.ops.feed_forward import composed
from adair_core.ops.feed_forward.native import composes
from adair_core.ops.feed_forward.parameters import Parameters
from adair_core.ops.keeping import recomputation


def branch(channels: int, hidden: int, *, biased: bool, seed: int = 0) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    shapes = [
        (channels,), (channels,), (2 * hidden, channels, 1, 1), (2 * hidden,), (2 * hidden, 1, 3, 3), (2 * hidden,),
        (channels, hidden, 1, 1), (channels,),
    ]  # fmt: skip
    return [random(*shape) if biased or len(shape) > 1 or place == 0 else None for place, shape in enumerate(shapes)]


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gradients(x: Tensor, parameters: list[Tensor | None], **options: Any) -> list[Tensor]:
    leaves = [None if value is None else value.detach().clone().requires_grad_() for value in (x, *parameters)]
    output = feed_forward(*leaves, **options)
    slopes = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).reshape(output.shape).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, [value for value in leaves if value is not None], slopes)]


def test_values_from_scipy() -> None:
    x, parameters = images(1, 4, 6, 5), branch(4, 3, biased=True)
    weight, bias, into, into_b, taps, taps_b, out, out_b = (value.double().numpy() for value in parameters)
    pixels = x.double().numpy()[0]
    centred = pixels - pixels.mean(0)
    normalised = centred / np.sqrt(pixels.var(0) + 1e-5) * weight[:, None, None] + bias[:, None, None]
    hidden = np.einsum("nk,khw->nhw", into[:, :, 0, 0], normalised) + into_b[:, None, None]
    convolved = [ndimage.correlate(hidden[c], taps[c, 0], mode="constant") + taps_b[c] for c in range(6)]
    a, b = np.stack(convolved[:3]), np.stack(convolved[3:])
    branch_output = np.einsum("nk,khw->nhw", out[:, :, 0, 0], a * special.ndtr(a) * b) + out_b[:, None, None]
    found = feed_forward(x, *parameters)[0].numpy()
    np.testing.assert_allclose(found, pixels + branch_output, rtol=1e-5, atol=1e-5)
    bare = feed_forward(x, *parameters, residual=False)[0].numpy()
    np.testing.assert_allclose(bare, branch_output, rtol=1e-5, atol=1e-5)


def saved_values(frozen: bool) -> int:
    x = images(1, 12, 16, 16).requires_grad_()
    parameters = [None if p is None else p.requires_grad_(not frozen) for p in branch(12, 32, biased=True)]
    sizes: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.update({t.data_ptr(): t.numel()}) or t, lambda t: t):
        feed_forward(x, *parameters)
    own = {value.data_ptr() for value in parameters if value is not None}
    return sum(size for pointer, size in sizes.items() if pointer not in own)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_input_and_the_convolution_are_all_that_is_kept(frozen: bool) -> None:
    pixels = 16 * 16
    assert saved_values(frozen) == pixels * (12 + 64)
    with recomputation():
        assert saved_values(frozen) == pixels * 12
    with recomputation(False):
        assert saved_values(frozen) == pixels * (12 + 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_recomputation_changes_no_bit(dtype: torch.dtype) -> None:
    x = images(2, 12, 17, 9).to(dtype)
    parameters = [None if p is None else p.to(dtype) for p in branch(12, 5, biased=True)]
    kept = gradients(x, parameters)
    with recomputation():
        again = gradients(x, parameters)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_spreads_one_pixel_far(value: float) -> None:
    x, parameters = images(1, 16, 9, 9), branch(16, 20, biased=True)
    x[0, 3, 4, 4] = value
    assert torch.equal(~feed_forward(x, *parameters).isfinite().any(1)[0].bool(), _near(4, 4, 9))


@pytest.mark.parametrize("shape", [(1, 256, 5, 7), (2, 128, 6, 8)])
@pytest.mark.parametrize("biased", [True, False])
def test_wide_branches_around_library_products(shape: tuple[int, ...], biased: bool) -> None:
    x, parameters = images(*shape).contiguous(memory_format=torch.channels_last), branch(shape[1], 21, biased=biased)
    assert composes(x)
    assert not composes(x.bfloat16())
    exact = gradients(x.double(), [None if value is None else value.double() for value in parameters])
    found = gradients(x, parameters)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for value, truth in zip(found, exact, strict=True):
        torch.testing.assert_close(value.double(), truth, rtol=0, atol=2e-6 * truth.abs().max().item())
    with recomputation():
        assert all(torch.equal(a, b) for a, b in zip(found, gradients(x, parameters), strict=True))


class OfSize(TorchDispatchMode):
    """Counts the tensors with memory of their own that have so many values."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.memory = count, set[int]()
        self.alive: list[Tensor] = []  # so that no memory is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {
            value.untyped_storage().data_ptr() for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)
        }
        for value in tree_leaves(result):
            place = value.untyped_storage().data_ptr() if isinstance(value, Tensor) else 0
            if place and place not in given and value.numel() == self.count:
                self.memory.add(place)
                self.alive.append(value)
        return result


def test_the_gate_for_the_output_weight_takes_one_image_of_hidden_channels() -> None:
    x, hidden = images(1, 6, 7, 5), 11
    parameters = Parameters._make(branch(6, hidden, biased=True))
    convolved = images(1, 2 * hidden, 7, 5, seed=2).contiguous(memory_format=torch.channels_last)
    needs = [place == 7 for place in range(9)]
    with OfSize(hidden * 7 * 5) as seen:
        found = composed.backward(torch.ones_like(x), x, parameters, 1e-5, True, convolved, needs)[7]
    assert len(seen.memory) == 1
    a, b = convolved.double().numpy()[0].reshape(2, hidden, -1)
    summed = np.broadcast_to((a * special.ndtr(a) * b).sum(1), (6, hidden))
    np.testing.assert_allclose(found.numpy()[:, :, 0, 0], summed, rtol=1e-5, atol=1e-5)


def _near(row: int, column: int, size: int) -> Tensor:
    found = torch.zeros(size, size, dtype=torch.bool)
    found[row - 1 : row + 2, column - 1 : column + 2] = True
    return found


@pytest.mark.parametrize(
    ("place", "shape", "message"),
    [
        (0, (5,), r"norm_weight: expected shape \(6,\), got \(5,\)"),
        (2, (8, 5, 1, 1), r"in_weight: expected shape \(8, 6, 1, 1\), got \(8, 5, 1, 1\)"),
        (4, (8, 1, 5, 5), r"depthwise_weight: expected shape \(8, 1, 3, 3\), got \(8, 1, 5, 5\)"),
        (6, (6, 4), r"out_weight: expected shape \(6, 4, 1, 1\), got \(6, 4\)"),
        (7, (1,), r"out_bias: expected shape \(6,\), got \(1,\)"),
    ],
)
def test_wrong_shapes_are_refused(place: int, shape: tuple[int, ...], message: str) -> None:
    parameters = branch(6, 4, biased=True)
    parameters[place] = torch.zeros(shape)
    with pytest.raises(UsageError, match=f"feed_forward: {message}"):
        feed_forward(torch.zeros(1, 6, 3, 3), *parameters)
