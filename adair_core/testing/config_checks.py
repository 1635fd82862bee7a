"""What every plugin's configuration model must do, because recipes and the command line rely on it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from adair_core.cli.options import Group, shown
from adair_core.specs import NAME_PATTERN


def check_described(model: type[BaseModel]) -> None:
    """Every field has a description, which is its option's help text."""
    bare = [name for name, field in model.model_fields.items() if not field.description]
    assert not bare, f"{model.__name__}: fields without a description, so options without help: {bare}"
    odd = [name for name in model.model_fields if not NAME_PATTERN.fullmatch(name.replace("_", "-"))]
    assert not odd, f"{model.__name__}: fields that make no lower-case option name: {odd}"


def check_recipe_round_trip(config: BaseModel) -> None:
    """A recipe holds the configuration as JSON; what is read back is the same."""
    text = config.model_dump_json()
    assert type(config).model_validate_json(text).model_dump_json() == text


def check_typed(config: BaseModel) -> None:
    """Every value can be typed on the command line."""
    model = type(config)
    group = Group("role", model, "the options")
    values = config.model_dump()
    options = {option.name: option for option in group.options()}
    typed: dict[str, Any] = {}
    for name in model.model_fields:
        option = options[f"role__{name}"]
        typed[f"role__{name}"] = values[name] if option.is_flag else shown(getattr(config, name))
    assert group.parse(model, group.given(typed)).model_dump_json() == config.model_dump_json()


@contextmanager
def no_global_randomness() -> Iterator[None]:
    """Fail if anything inside draws from a global generator: of torch, numpy or Python."""
    before = torch.random.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    yield
    assert torch.equal(before[0], torch.random.get_rng_state()), "draws from torch's global generator"
    assert str(before[1]) == str(np.random.get_state(legacy=False)), "draws from numpy's global generator"
    assert before[2] == random.getstate(), "draws from Python's global generator"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside, and put its state back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
