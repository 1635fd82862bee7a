"""Attention across channels: values by hand, invariances, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from adair_core.errors import UsageError
from adair_core.ops import channel_attention


def images(channels: int, *, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(2, channels, 4, 5, generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_two_channels_by_hand() -> None:
    q, k, v = torch.eye(2), 3 * torch.eye(2), torch.tensor([[1.0, 2.0], [5.0, 7.0]])
    qkv = torch.cat([q, k, v]).reshape(1, 6, 1, 2)
    # Cosines are the identity: each row's weights are softmax([ln 3, 0]) = [3/4, 1/4].
    found = channel_attention(qkv, torch.tensor(3.0).log().reshape(1, 1, 1), 1)
    truth = torch.tensor([[0.75 * 1 + 0.25 * 5, 0.75 * 2 + 0.25 * 7], [0.25 * 1 + 0.75 * 5, 0.25 * 2 + 0.75 * 7]])
    torch.testing.assert_close(found.reshape(2, 2), truth)


def test_it_is_scaled_dot_product_attention_of_unit_rows() -> None:
    qkv, heads = images(24), 4
    q, k, v = qkv.reshape(2, 3, heads, 2, 20).unbind(1)
    rows = (functional.normalize(q, dim=-1), functional.normalize(k, dim=-1), v)
    truth = functional.scaled_dot_product_attention(*rows, scale=1.7).reshape(2, 8, 4, 5)
    found = channel_attention(qkv, torch.full((heads, 1, 1), 1.7, dtype=torch.float64), heads)
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)


def test_each_head_has_its_own_temperature() -> None:
    qkv = images(12)
    both = channel_attention(qkv, torch.tensor([0.5, 3.0], dtype=torch.float64).reshape(2, 1, 1), 2)
    for head, value in enumerate((0.5, 3.0)):
        alone = qkv.reshape(2, 3, 2, 2, 4, 5)[:, :, head].reshape(2, 6, 4, 5)
        found = channel_attention(alone, torch.full((1, 1, 1), value, dtype=torch.float64), 1)
        torch.testing.assert_close(both[:, 2 * head : 2 * head + 2], found)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_empty_queries_attend_equally_and_have_finite_gradients(layout: torch.memory_format) -> None:
    qkv = images(12)
    qkv[:, :4] = 0
    qkv = qkv.contiguous(memory_format=layout).requires_grad_()
    found = channel_attention(qkv, torch.ones(1, 1, 1, dtype=torch.float64), 1)
    torch.testing.assert_close(found, qkv[:, 8:].mean(1, keepdim=True).expand(2, 4, 4, 5))
    (gradient,) = torch.autograd.grad(found.square().sum(), qkv)
    # Their length is a constant there, so the gradient is that of q / 1e-12.
    assert gradient.isfinite().all()
    assert gradient[:, :4].any()


def test_the_length_of_queries_does_not_matter() -> None:
    qkv = images(12)
    temperature = torch.ones(2, 1, 1, dtype=torch.float64)
    longer = torch.cat([1000 * qkv[:, :4], qkv[:, 4:]], dim=1)
    torch.testing.assert_close(channel_attention(longer, temperature, 2), channel_attention(qkv, temperature, 2))


def test_bfloat16_lengths_of_many_pixels_are_summed_in_float32() -> None:
    # All cosines are 1; sums of 64 x 64 ones in bfloat16 would stop at 256.
    qkv = torch.ones(1, 6, 64, 64, dtype=torch.bfloat16)
    qkv[:, 5] = 3
    _, cosines, lengths = torch.ops.adair.channel_attention(qkv, torch.ones(1, 1, 1), 1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 64.0))
    torch.testing.assert_close(cosines, torch.ones_like(cosines))


def gradient_of(attend, qkv: torch.Tensor, to_result: torch.Tensor) -> torch.Tensor:
    qkv = qkv.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(attend(qkv), qkv, to_result)
    return gradient.double()


def by_normalising(qkv: torch.Tensor) -> torch.Tensor:
    q, k, v = qkv.flatten(2).chunk(3, dim=1)
    attention = torch.softmax(functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).mT, dim=-1)
    return (attention @ v).reshape(*v.shape[:2], *qkv.shape[2:])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_float16_keeps_the_bits_of_gradients_of_long_rows(layout: torch.memory_format) -> None:
    # Lengths of about 1300, as of 64 x 64 pixels of 20 each: dS / (|q| |k|) has six bits in float16 and fewer.
    generator = torch.Generator().manual_seed(1)
    qkv = torch.randn(1, 3 * 48, 64, 64, generator=generator, dtype=torch.float64)
    qkv[:, : 2 * 48] *= 20
    qkv = qkv.half().contiguous(memory_format=layout)
    to_result = torch.randn(1, 48, 64, 64, generator=generator).half()
    temperature = torch.ones(1, 1, 1)
    found = gradient_of(lambda x: channel_attention(x, temperature, 1), qkv, to_result)
    usual = gradient_of(by_normalising, qkv, to_result)
    truth = gradient_of(by_normalising, qkv.double(), to_result.double())
    for part in range(2):  # of queries and keys
        own, theirs, exact = (value.chunk(3, dim=1)[part] for value in (found, usual, truth))
        assert (own - exact).norm() <= 2 * (theirs - exact).norm()


def test_float16_has_finite_gradients_beside_empty_rows() -> None:
    qkv = images(12, dtype=torch.float32)
    qkv[:, [0, 6]] = 0  # a query and a key
    to_result = torch.randn(2, 4, 4, 5, generator=torch.Generator().manual_seed(2))
    found = gradient_of(lambda x: channel_attention(x, torch.ones(1, 1, 1), 1), qkv.half(), to_result.half())
    truth = gradient_of(by_normalising, qkv.half().double(), to_result.half().double())
    assert not found[:, [0, 6]].any(), "more than float16 holds"
    rest = [channel for channel in range(12) if channel not in (0, 6)]
    torch.testing.assert_close(found[:, rest], truth[:, rest], rtol=0.01, atol=2e-3)


@pytest.mark.parametrize(
    ("channels", "temperature", "heads", "message"),
    [
        (7, (1, 1, 1), 1, "channels of qkv: expected a multiple of 3 x 1 heads, got 7"),
        (6, (4, 1, 1), 4, "channels of qkv: expected a multiple of 3 x 4 heads, got 6"),
        (6, (0, 1, 1), 0, "channels of qkv: expected a multiple of 3 x 0 heads"),
        (6, (1,), 1, r"temperature: expected shape \(1, 1, 1\), got \(1,\)"),
    ],
)
def test_wrong_shapes_are_refused(channels: int, temperature: tuple[int, ...], heads: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        channel_attention(torch.zeros(1, channels, 2, 2), torch.zeros(temperature), heads)
