"""Parameters of several adapters side by side, kept until one of them changes."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from adair_core.ops.stacks import Stack, Stacks


def adapter(seed: int) -> tuple[nn.Parameter, None, nn.Parameter]:
    drawn = torch.randn(5, generator=torch.Generator().manual_seed(seed))
    return nn.Parameter(drawn[:4].view(2, 2)), None, nn.Parameter(drawn[4:])


def check(found: Stack, adapters: list[Any]) -> None:
    assert found[1] is None
    for place in (0, 2):
        value = found[place]
        assert value is not None
        assert [each.tolist() for each in value] == [own[place].tolist() for own in adapters]


def change_in_place(own: list[nn.Parameter]) -> None:
    own[0].add_(1)


def replace(own: list[nn.Parameter]) -> None:
    own[0] = nn.Parameter(own[0] + 1)


def give_other_memory(own: list[nn.Parameter]) -> None:
    own[0].data = own[0].data + 1


@torch.no_grad()
@pytest.mark.parametrize("change", [change_in_place, replace, give_other_memory])
def test_a_stack_holds_until_a_parameter_changes(change: Any) -> None:
    stacks, adapters = Stacks(), [list(adapter(seed)) for seed in range(3)]
    first = stacks.get([tuple(own) for own in adapters])
    check(first, adapters)
    assert all(old is new for old, new in zip(first, stacks.get([tuple(own) for own in adapters]), strict=True))
    change(adapters[1])
    check(stacks.get([tuple(own) for own in adapters]), adapters)


@torch.no_grad()
def test_other_adapters_have_other_stacks_and_the_oldest_goes() -> None:
    stacks, (a, b, c) = Stacks(size=2), (adapter(seed) for seed in range(3))
    first = stacks.get([a, b])
    check(stacks.get([a, c]), [a, c])
    check(stacks.get([b, a]), [b, a])
    assert stacks.get([b, a])[0] is stacks.get([b, a])[0]
    assert stacks.get([a, b])[0] is not first[0]


@torch.no_grad()
def test_nobody_else_gets_the_memory_of_what_is_stacked() -> None:
    stacks, kept, gone = Stacks(), adapter(0), adapter(1)
    stacks.get([kept, gone])
    places = {gone[0].data_ptr(), gone[2].data_ptr()}
    del gone
    gc.collect()
    others = [adapter(seed) for seed in range(2, 200)]
    assert not places & {value.data_ptr() for own in others for value in (own[0], own[2])}
    for other in others:
        check(stacks.get([kept, other]), [kept, other])


def test_gradients_flow() -> None:
    stacks, adapters = Stacks(), [adapter(seed) for seed in range(2)]
    with torch.no_grad():
        stacks.get(adapters)
    found = stacks.get(adapters)[0]
    assert found is not None
    found.square().sum().backward()
    for own in adapters:
        assert own[0].grad is not None
        torch.testing.assert_close(own[0].grad, 2 * own[0].detach())


@torch.no_grad()
def test_copies_begin_without_and_tracers_see_the_stack() -> None:
    stacks, adapters = Stacks(), [adapter(seed) for seed in range(2)]
    kept = stacks.get(adapters)
    assert copy.deepcopy(stacks).get(adapters)[0] is not kept[0]

    def run(x: Tensor) -> Tensor:
        value = stacks.get(adapters)[0]
        assert value is not None
        return x + value

    traced = make_fx(run)(torch.zeros(2, 2, 2))
    assert [node.target for node in traced.graph.nodes].count(torch.ops.aten.stack.default) == 2
