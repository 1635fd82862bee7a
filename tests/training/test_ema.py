from __future__ import annotations

import numpy as np
import pytest
import torch

from adair_core.training.ema import MovingAverage


def test_average_is_its_recurrence() -> None:
    draws = np.random.default_rng(0)
    weight = torch.tensor(draws.standard_normal((3, 2)))
    wanted = weight.numpy().copy()
    average = MovingAverage({"w": weight}, 0.6)
    for step in range(1, 20):
        weight.copy_(torch.tensor(draws.standard_normal((3, 2))))
        average.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * weight.numpy()
    np.testing.assert_allclose(average.averages["w"].numpy(), wanted, rtol=1e-12)


def test_applied_puts_the_average_in_and_the_own_bits_back() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    average = MovingAverage({"w": weight}, 0.9)
    with torch.no_grad():
        weight.add_(0.1)
    average.update(1)
    own, version = weight.detach().clone(), weight._version
    with average.applied():
        assert torch.equal(weight, average.averages["w"])
        assert not torch.equal(weight, own)
        assert weight._version > version  # what caches by version must see the change
    assert torch.equal(weight, own)


def test_own_weights_come_back_after_an_error() -> None:
    weight = torch.tensor([1.0])
    average = MovingAverage({"w": weight}, 0.9)
    weight.fill_(3.0)
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert weight.item() == 3.0


def test_decay_zero_is_the_weights_themselves() -> None:
    weight = torch.tensor([1.0])
    average = MovingAverage({"w": weight}, 0.0)
    weight.fill_(5.0)
    average.update(1)
    assert average.averages["w"].item() == 5.0
    with average.applied():
        assert weight.item() == 5.0
