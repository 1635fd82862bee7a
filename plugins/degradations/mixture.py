"""How `chain` and `one-of` hold, write and run the degradations that they are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from pydantic import BeforeValidator
from torch import Tensor

from adair_core.degradation import Degradation, Draws
from adair_core.plugins import parse_config, plugins
from adair_core.specs import Choice

ChoiceT = TypeVar("ChoiceT", bound=Choice)


def named_numbers(number: str) -> BeforeValidator:
    """Accept ``name:number,name`` and JSON as text, beside the list of mappings that recipes hold.

    Args:
        number: the field that the number after the colon fills.
    """

    def parse_one(item: object) -> object:
        if not isinstance(item, str):
            return item
        name, colon, value = item.partition(":")
        return {"name": name.strip(), number: value.strip()} if colon else {"name": name.strip()}

    def parse(value: object) -> object:
        if isinstance(value, str):
            if value.lstrip().startswith("["):
                try:
                    value = json.loads(value)
                except json.JSONDecodeError as error:
                    raise ValueError(f"expected a JSON list of degradations ({error})") from error
            else:
                value = value.split(",") if value.strip() else []
        return [parse_one(item) for item in value] if isinstance(value, Sequence) else value

    return BeforeValidator(parse)


def completed(parts: tuple[ChoiceT, ...]) -> tuple[ChoiceT, ...]:
    """Fill in every option of every part: a recipe then holds them all, whatever becomes of the defaults.

    Raises:
        UnknownNameError: no plugin offers a degradation.
        UsageError: its options are not valid.
    """
    filled = []
    for part in parts:
        spec = plugins().degradations[part.name]
        config = parse_config(spec.config, part.options, what=f"degradation {part.name!r}")
        filled.append(part.model_copy(update={"options": config.model_dump(mode="json")}))
    return tuple(filled)


def degrade_groups(
    images: Tensor,
    draws: Sequence[Draws],
    children: Sequence[Degradation],
    child_of: Callable[[Draws], int],
) -> Tensor:
    """Degrade each image by one of several degradations, each on all of its images at once.

    Args:
        images: ``(B, C, H, W)``.
        draws: of each image, with the child's own under ``"draws"``.
        children: the degradations.
        child_of: index of an image's child from its draws; -1 leaves the image as it is.

    Returns:
        ``(B, C, H, W)``, a new tensor.
    """
    degraded = images.clone()
    chosen = [child_of(draw) for draw in draws]
    for index, child in enumerate(children):
        members = [position for position, choice in enumerate(chosen) if choice == index]
        if members:
            where = torch.tensor(members, device=images.device)
            degraded[where] = child.degrade(images[where], [draws[position]["draws"] for position in members])
    return degraded
