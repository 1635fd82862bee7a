"""The gate: values from scipy, what is kept for the backward pass, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from adair_core.errors import UsageError
from adair_core.ops import depthwise_gate


def test_values_from_scipy() -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(1, 4, 6, 5)), rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4)
    convolved = np.stack([ndimage.correlate(x[0, c], weight[c, 0], mode="constant") + bias[c] for c in range(4)])
    truth = convolved[:2] * special.ndtr(convolved[:2]) * convolved[2:]
    found = depthwise_gate(*map(torch.from_numpy, (x, weight, bias)))
    np.testing.assert_allclose(found[0].numpy(), truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_weight_keeps_no_input(frozen: bool) -> None:
    x = torch.randn(1, 8, 16, 16, requires_grad=True)
    weight = torch.randn(8, 1, 3, 3, requires_grad=not frozen)
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        depthwise_gate(x, weight)
    images = [value for value in saved if value.shape == x.shape]
    assert len(images) == (1 if frozen else 2)
    assert any(value.data_ptr() == x.data_ptr() for value in images) is not frozen


def test_second_derivatives_with_a_frozen_weight() -> None:
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda image: depthwise_gate(image, weight), (x,))


def test_third_derivatives() -> None:
    x = torch.randn(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)

    def slope(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        output = depthwise_gate(image, kernel)
        return torch.autograd.grad(output.square().sum(), image, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(slope, (x, weight))


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((1, 3, 4, 4), (3, 1, 3, 3), None, "depthwise_gate: channels of x: expected an even number, got 3"),
        ((1, 4, 4, 4), (4, 1, 5, 5), None, r"weight: expected shape \(4, 1, 3, 3\), got \(4, 1, 5, 5\)"),
        ((1, 4, 4, 4), (4, 1, 3, 3), (2,), r"bias: expected shape \(4,\), got \(2,\)"),
    ],
)
def test_wrong_shapes_are_refused(x: tuple[int, ...], weight: tuple[int, ...], bias: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        depthwise_gate(torch.zeros(x), torch.zeros(weight), None if bias is None else torch.zeros(bias))
