"""What is kept of computations on parameters alone."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from adair_core.derived import Derived


class Doubled(nn.Module):
    """Counts how often it doubles its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(3.0))
        self.derived, self.made = Derived(), 0

    def forward(self, key: Any = None) -> Tensor:
        return self.derived.get(key, (self.weight,), self._make)

    def _make(self) -> Tensor:
        self.made += 1
        return 2 * self.weight


@pytest.fixture
def doubled() -> Doubled:
    return Doubled()


def change_in_place(module: Doubled) -> None:
    with torch.no_grad():
        module.weight.add_(1)


def replace(module: Doubled) -> None:
    module.weight = nn.Parameter(torch.ones(3))


def convert(module: Doubled) -> None:
    module.double()


@torch.no_grad()
@pytest.mark.parametrize("change", [change_in_place, replace, convert])
def test_it_holds_until_a_parameter_changes(doubled: Doubled, change: Any) -> None:
    assert doubled() is doubled()
    assert doubled.made == 1
    change(doubled)
    torch.testing.assert_close(doubled(), 2 * doubled.weight)
    assert doubled.made == 2


def test_gradients_flow(doubled: Doubled) -> None:
    with torch.no_grad():
        doubled()
    doubled().sum().backward()
    assert doubled.weight.grad is not None
    torch.testing.assert_close(doubled.weight.grad, torch.full((3,), 2.0))


def test_what_inference_mode_kept_serves_outside_of_it(doubled: Doubled) -> None:
    with torch.inference_mode():
        kept = doubled()
    with torch.no_grad():
        assert doubled() is kept
    factor = torch.ones(3, requires_grad=True)
    (kept * factor).sum().backward()  # an inference tensor cannot be saved for this
    torch.testing.assert_close(factor.grad, kept)


@torch.no_grad()
def test_the_oldest_goes() -> None:
    module = Doubled()
    module.derived = Derived(size=2)
    for key in ("a", "b", "a", "c", "a"):
        module(key)
    assert module.made == 3
    module("b")
    assert module.made == 4


@torch.no_grad()
def test_copies_begin_without(doubled: Doubled) -> None:
    doubled()
    for twin in (copy.deepcopy(doubled), pickle.loads(pickle.dumps(doubled))):
        change_in_place(twin)
        torch.testing.assert_close(twin(), 2 * twin.weight)
        assert twin.made == 2
    assert doubled.made == 1


@torch.no_grad()
def test_a_tracer_sees_the_computation(doubled: Doubled) -> None:
    doubled()
    traced = make_fx(lambda x: x + doubled())(torch.zeros(3))
    assert [node.target for node in traced.graph.nodes].count(torch.ops.aten.mul.Tensor) == 1
