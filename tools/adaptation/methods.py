"""The ways to learn a task that the study compares, and how large an adapter of a share of the base is."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

from adair_core.model.load import load
from adair_core.specs import Choice

BUDGETS = (0.02, 0.08)  # of the base's parameters
SIZE_OPTION = {"lora": "rank", "bottleneck": "width", "prompt": "channels"}


@dataclass(frozen=True)
class Method:
    """A way to learn a task.

    Attributes:
        name: unique.
        adapter: type and options.
        random: whether it starts from random weights, not from the base.
    """

    name: str
    adapter: Choice
    random: bool = False


def methods(base: str) -> list[Method]:
    """Adapters of each type at each budget, full fine-tuning, and training from random weights."""
    found = [of_size(base, adapter, budget) for adapter in SIZE_OPTION for budget in BUDGETS]
    full = Choice(name="full", options={})
    return [*found, Method("full", full), Method("scratch", full, random=True)]


def of_size(base: str, adapter: str, share: float) -> Method:
    """An adapter of a share of the base's parameters."""
    option = SIZE_OPTION[adapter]
    return Method(f"{adapter}-{share:.0%}", Choice(name=adapter, options={option: sized(base, adapter, option, share)}))


@cache
def sized(base: str, adapter: str, option: str, share: float) -> int:
    """The value of an option whose adapter comes nearest to a share of the base's parameters; more means larger."""
    model = load(base)
    wanted = share * sum(parameter.numel() for parameter in model.backbone.parameters())

    def count(value: int) -> int:
        model.add_adapter("sized", adapter, {option: value})
        found = sum(parameter.numel() for parameter in model.adapter_parameters("sized").values())
        model.remove_adapter("sized")
        return found

    above = bisect_left(range(1, 257), wanted, key=count) + 1
    return min((max(above - 1, 1), min(above, 256)), key=lambda value: abs(count(value) - wanted))
