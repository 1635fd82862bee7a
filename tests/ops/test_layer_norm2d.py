"""Layer norm over channels: values by hand, and where single precision could go wrong."""

from __future__ import annotations

import pytest
import torch

from adair_core.errors import UsageError
from adair_core.ops import layer_norm2d

ONE_PIXEL = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)  # mean 2, variance 1


def test_biased_kind_by_hand() -> None:
    found = layer_norm2d(ONE_PIXEL, torch.tensor([2.0, 5.0]), torch.tensor([10.0, 20.0]), eps=3.0)
    torch.testing.assert_close(found.flatten(), torch.tensor([2 * -0.5 + 10, 5 * 0.5 + 20]))


def test_bias_free_kind_by_hand() -> None:
    found = layer_norm2d(ONE_PIXEL, torch.tensor([2.0, 5.0]), eps=3.0)
    torch.testing.assert_close(found.flatten(), torch.tensor([2 * 1 / 2, 5 * 3 / 2]))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("biased", [True, False])
def test_a_large_mean_does_not_cancel(layout: torch.memory_format, biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(1, 64, 4, 4, generator=generator, dtype=torch.float64) + 1000
    x = exact.float().contiguous(memory_format=layout)
    weight, bias = torch.ones(64), torch.zeros(64) if biased else None
    mean, deviation = x.double().mean(1, keepdim=True), x.double().std(1, keepdim=True, unbiased=False)
    truth = (x.double() - mean if biased else x.double()) / deviation
    # Measured: 6e-5 (the mean, near 1000, has that rounding); E[x^2] - E[x]^2 would be off by several per cent.
    torch.testing.assert_close(layer_norm2d(x, weight, bias).double(), truth, rtol=3e-4, atol=3e-4)


def test_a_constant_pixel_stays_finite() -> None:
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    found = layer_norm2d(x, torch.ones(4))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(found, torch.zeros_like(found))
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1e-5**-0.5))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("biased", [True, False])
def test_weight_gradients_of_many_bfloat16_pixels_are_summed_in_float32(
    layout: torch.memory_format, biased: bool
) -> None:
    x = torch.ones(1, 2, 64, 64, dtype=torch.bfloat16).contiguous(memory_format=layout)
    x[:, 0] = -1
    weight, bias = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True) if biased else None
    layer_norm2d(x, weight, bias, eps=0.0).sum().backward()
    # Adding ones in bfloat16 stops at 256.
    assert weight.grad is not None
    assert weight.grad.tolist() == [-4096, 4096]
    if bias is not None:
        assert bias.grad is not None
        assert bias.grad.tolist() == [4096, 4096]


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (torch.ones(3), None, r"layer_norm2d: weight: expected shape \(2,\), got \(3,\)"),
        (torch.ones(2), torch.ones(1, 2), r"layer_norm2d: bias: expected shape \(2,\), got \(1, 2\)"),
    ],
)
def test_wrong_shapes_are_refused(weight: torch.Tensor, bias: torch.Tensor | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        layer_norm2d(ONE_PIXEL, weight, bias)
