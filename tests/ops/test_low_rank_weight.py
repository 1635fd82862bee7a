"""The low-rank update of a weight: rounding, layouts of the factors, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from adair_core.errors import UsageError
from adair_core.ops import low_rank_weight


def test_a_convolution_with_it_is_the_sum_of_two_convolutions() -> None:
    generator = torch.Generator().manual_seed(3)
    x, weight, a, b = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((1, 5, 8, 8), (6, 5, 3, 3), (2, 5, 3, 3), (6, 2, 1, 1))
    )
    truth = functional.conv2d(x, weight) + 0.25 * functional.conv2d(functional.conv2d(x, a), b)
    found = functional.conv2d(x, low_rank_weight(weight, a, b, 0.25))
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)


def test_it_is_rounded_once() -> None:
    # Each of the 64 terms is below half a unit in the last place of 1 in bfloat16 (2^-8); together they are 16 units.
    weight = torch.ones(1, 1, dtype=torch.bfloat16)
    a, b = torch.full((64, 1), 2.0**-9), torch.ones(1, 64)
    assert low_rank_weight(weight, a, b, 1.0).item() == 1 + 64 * 2.0**-9


def test_gradients_of_a_bfloat16_weight_have_the_dtype_of_their_factors() -> None:
    weight = torch.ones(3, 2, dtype=torch.bfloat16, requires_grad=True)
    a, b = torch.ones(1, 2, requires_grad=True), torch.ones(3, 1, requires_grad=True)
    low_rank_weight(weight, a, b, 1.0).sum().backward()
    gradients = [weight.grad, a.grad, b.grad]
    assert [value.dtype for value in gradients if value is not None] == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3,), (1, 1), (3, 1)), r"weight and a: expected two dimensions or more, got \(3,\) and \(1, 1\)"),
        (((3, 2), (1, 3), (3, 1)), r"low_rank_weight: a: expected shape \(1, 2\), got \(1, 3\)"),
        (((3, 2), (1, 2), (2, 1)), r"low_rank_weight: b: expected shape \(3, 1\), got \(2, 1\)"),
        (((3, 2), (1, 2), (3,)), r"low_rank_weight: b: expected shape \(3, 1\), got \(3,\)"),
    ],
)
def test_wrong_shapes_are_refused(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        low_rank_weight(*(torch.zeros(shape) for shape in shapes), 1.0)
