"""Numbers on a device: what they are, that none comes from the host, and that they are kept."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses import FakeTensorMode

from adair_core.model.cuda_graph import Capturable
from adair_core.ops.constants import constants

CPU = torch.device("cpu")
VALUES = [[], [3], [0, 0, 0], [2, 2, 0, -1, -1, 2]]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("watched", [False, True])
def test_they_are_the_numbers(values: list[int], watched: bool) -> None:
    with Capturable(CPU) if watched else torch.no_grad():
        found = constants(values, CPU)
    assert found.dtype == torch.int64
    assert found.tolist() == values


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_they_are_rounded_as_pytorch_rounds(dtype: torch.dtype) -> None:
    values = [math.pi, -0.3, -0.3, 1e-3]
    assert torch.equal(constants(values, CPU, dtype), torch.tensor(values, dtype=dtype))


def test_they_are_made_once() -> None:
    first = constants([5, 5, 1], CPU)
    assert constants((5, 5, 1), CPU) is first
    assert constants([5, 5, 1], CPU, torch.float32).dtype == torch.float32
    assert constants([5, 5, 2], CPU).tolist() == [5, 5, 2]


def test_those_of_inference_mode_serve_outside_of_it() -> None:
    with torch.inference_mode():
        kept = constants([7.5], CPU, torch.float32)
    factor = torch.ones(1, requires_grad=True)
    (factor * constants([7.5], CPU, torch.float32)).sum().backward()  # an inference tensor cannot be saved for this
    assert factor.grad is not None
    assert torch.equal(factor.grad, kept)


@pytest.mark.parametrize("values", VALUES)
def test_nothing_comes_from_the_host(values: list[int]) -> None:
    with FakeTensorMode(), Capturable(torch.device("cuda", 0)):
        assert constants(values, torch.device("cuda", 0)).device.type == "cuda"
    assert constants(values, CPU).device == CPU, "what a mode has made is not kept"
