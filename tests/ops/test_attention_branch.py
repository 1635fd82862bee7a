"""The attention branch: values, what is kept for the backward pass, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, special
from torch import Tensor

from adair_core.errors import UsageError
from adair_core.ops import attention_branch
from adair_core.ops.attention_branch.native import composes
from adair_core.ops.keeping import recomputation
from adair_core.ops.native import library, references_only

needs_library = pytest.mark.skipif(not library().loaded, reason="the native library is not built")


def branch(channels: int, heads: int, *, biased: bool, seed: int = 0) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    return [
        1 + random(channels, scale=0.2),
        random(channels) if biased else None,
        random(3 * channels, channels, 1, 1, scale=channels**-0.5),
        random(3 * channels) if biased else None,
        random(3 * channels, 1, 3, 3, scale=0.4),
        random(3 * channels) if biased else None,
        1 + 3 * random(heads, 1, 1).square(),
        random(channels, channels, 1, 1, scale=channels**-0.5),
        random(channels) if biased else None,
    ]


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gradients(x: Tensor, parameters: list[Tensor | None], **options: Any) -> list[Tensor]:
    leaves = [None if value is None else value.detach().clone().requires_grad_() for value in (x, *parameters)]
    output = attention_branch(*leaves, heads=len(parameters[6]), **options)
    slopes = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).reshape(output.shape).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, [value for value in leaves if value is not None], slopes)]


def error(value: Tensor, truth: Tensor) -> float:
    return float((value.double() - truth).norm() / truth.norm())


def test_values_from_scipy() -> None:
    x, parameters = images(1, 4, 6, 5), branch(4, 2, biased=True)
    weight, bias, qkv, qkv_b, taps, taps_b, temperature, out, out_b = (p.double().numpy() for p in parameters)
    pixels = x.double().numpy()[0]
    centred = pixels - pixels.mean(0)
    normalised = centred / np.sqrt(pixels.var(0) + 1e-5) * weight[:, None, None] + bias[:, None, None]
    expanded = np.einsum("nk,khw->nhw", qkv[:, :, 0, 0], normalised) + qkv_b[:, None, None]
    convolved = [ndimage.correlate(expanded[c], taps[c, 0], mode="constant") + taps_b[c] for c in range(12)]
    q, k, v = np.stack(convolved).reshape(3, 2, 2, 30)
    q, k = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (q, k))
    attended = special.softmax(temperature * (q @ k.transpose(0, 2, 1)), axis=-1) @ v
    branch_output = np.einsum("nk,khw->nhw", out[:, :, 0, 0], attended.reshape(4, 6, 5)) + out_b[:, None, None]
    found = attention_branch(x, *parameters, heads=2)[0].numpy()
    np.testing.assert_allclose(found, pixels + branch_output, rtol=1e-5, atol=1e-5)
    bare = attention_branch(x, *parameters, heads=2, residual=False)[0].numpy()
    np.testing.assert_allclose(bare, branch_output, rtol=1e-5, atol=1e-5)


def saved_values(frozen: bool) -> int:
    x = images(1, 12, 16, 16).requires_grad_()
    parameters = [None if p is None else p.requires_grad_(not frozen) for p in branch(12, 2, biased=True)]
    sizes: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.update({t.data_ptr(): t.numel()}) or t, lambda t: t):
        attention_branch(x, *parameters, heads=2)
    own = {value.data_ptr() for value in parameters if value is not None}
    return sum(size for pointer, size in sizes.items() if pointer not in own)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_input_and_the_convolution_are_all_that_is_kept(frozen: bool) -> None:
    pixels, matrices = 16 * 16, 2 * 6 * 6 + 2 * 12
    assert saved_values(frozen) == pixels * (12 + 36) + matrices
    with recomputation():
        assert saved_values(frozen) == pixels * 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_recomputation_changes_no_bit(dtype: torch.dtype) -> None:
    x = images(2, 12, 17, 9).to(dtype)
    parameters = [None if p is None else p.to(dtype) for p in branch(12, 3, biased=True)]
    kept = gradients(x, parameters)
    with recomputation():
        again = gradients(x, parameters)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


@needs_library
@pytest.mark.parametrize("heads", [1, 4])
def test_in_bfloat16_the_native_kernels_err_no_more_than_the_reference(heads: int) -> None:
    squares = torch.zeros(11, 2, dtype=torch.float64)  # several draws: the gradient of a temperature is one number
    for seed in range(6):
        x = images(2, 24, 19, 23, seed=100 + seed).bfloat16()
        parameters = [None if p is None else p.bfloat16() for p in branch(24, heads, biased=True, seed=seed)]
        exact = gradients(x.double(), [None if p is None else p.double() for p in parameters])
        native = gradients(x, parameters)
        with references_only():
            reference = gradients(x, parameters)
        for place, truth in enumerate(exact):
            squares[place, 0] += error(native[place], truth) ** 2
            squares[place, 1] += error(reference[place], truth) ** 2
    # Worst measured: 1.02, else at most 0.97.
    assert (squares[:, 0] / squares[:, 1]).sqrt().max() < 1.2


@pytest.mark.parametrize(("shape", "heads"), [((1, 320, 5, 7), 8), ((2, 320, 1, 9), 4), ((2, 256, 6, 8), 8)])
@pytest.mark.parametrize("biased", [True, False])
def test_wide_branches_around_library_products(shape: tuple[int, ...], heads: int, biased: bool) -> None:
    x = images(*shape).contiguous(memory_format=torch.channels_last)
    parameters = branch(shape[1], heads, biased=biased)
    assert composes(x) == (shape[1] >= 320)
    assert composes(x, backward=True)
    assert not composes(x.bfloat16())
    exact = gradients(x.double(), [None if value is None else value.double() for value in parameters])
    found = gradients(x, parameters)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert max(map(error, found, exact)) < 1e-5
    with recomputation():
        assert all(torch.equal(a, b) for a, b in zip(found, gradients(x, parameters), strict=True))


@pytest.mark.parametrize("heads", [4, 8])
def test_frozen_wide_branches_give_what_is_wanted_alone(heads: int) -> None:
    """The gradients of LoRA's places, and of x alone: the same as among all, whatever is skipped."""
    x, parameters = images(1, 320, 4, 5).contiguous(memory_format=torch.channels_last), branch(320, heads, biased=True)
    whole = gradients(x, parameters)[1:]
    for places in ((0,), (0, 3, 8), (5,), (7,), (1, 9)):
        leaves = [x.clone(), *(value.clone() for value in parameters)]
        wanted = [leaves[place].requires_grad_() for place in places]
        output = attention_branch(*leaves, heads=heads)
        slopes = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).reshape(output.shape).float()
        for value, place in zip(torch.autograd.grad(output, wanted, slopes), places, strict=True):
            assert torch.equal(value, whole[place])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_spreads_through_its_image_alone(value: float) -> None:
    x, parameters = images(2, 16, 9, 9), branch(16, 2, biased=True)
    x[0, 3, 4, 4] = value
    output, to_x, *to_parameters = gradients(x, parameters)
    for result in (output, to_x):
        assert result[0].isnan().all()
        assert result[1].isfinite().all()
    # The gradient of the output's bias is that of the output, whatever the output is.
    assert all(not gradient.isfinite().all() for gradient in to_parameters[:-1])
    assert to_parameters[-1].isfinite().all()


def test_queries_and_keys_of_length_zero_have_finite_gradients() -> None:
    x, parameters = images(1, 8, 5, 5), branch(8, 2, biased=False)
    parameters[2][:16] = 0
    output, to_x, *_ = gradients(x, parameters)
    exact = gradients(x.double(), [None if p is None else p.double() for p in parameters])
    assert error(output, exact[0]) < 1e-5
    assert to_x.isfinite().all()


@pytest.mark.parametrize(
    ("place", "shape", "message"),
    [
        (0, (5,), r"norm_weight: expected shape \(6,\), got \(5,\)"),
        (2, (12, 6, 1, 1), r"qkv_weight: expected shape \(18, 6, 1, 1\), got \(12, 6, 1, 1\)"),
        (4, (18, 1, 5, 5), r"depthwise_weight: expected shape \(18, 1, 3, 3\), got \(18, 1, 5, 5\)"),
        (6, (2,), r"temperature: expected shape \(2, 1, 1\), got \(2,\)"),
        (7, (6, 6), r"out_weight: expected shape \(6, 6, 1, 1\), got \(6, 6\)"),
        (8, (1,), r"out_bias: expected shape \(6,\), got \(1,\)"),
    ],
)
def test_wrong_shapes_are_refused(place: int, shape: tuple[int, ...], message: str) -> None:
    parameters = branch(6, 2, biased=True)
    parameters[place] = torch.zeros(shape)
    with pytest.raises(UsageError, match=f"attention_branch: {message}"):
        attention_branch(torch.zeros(1, 6, 3, 3), *parameters, heads=2)


@pytest.mark.parametrize("heads", [0, 4])
def test_heads_that_do_not_divide_the_channels_are_refused(heads: int) -> None:
    with pytest.raises(UsageError, match=rf"channels of x: expected a multiple of {heads} heads, got 6"):
        attention_branch(torch.zeros(1, 6, 3, 3), *branch(6, 2, biased=True), heads=heads)
