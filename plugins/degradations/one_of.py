"""One of several degradations, drawn for each image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated

import torch
from pydantic import AfterValidator, Field, field_validator
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, uniform
from adair_core.plugins import plugins
from adair_core.specs import Choice, Config, DegradationSpec
from adair_plugins.degradations.mixture import completed, degrade_groups, named_numbers


class Alternative(Choice):
    """A degradation, and how likely it is."""

    weight: float = Field(1.0, ge=0, description="relative probability")


class OneOfConfig(Config):
    """Options of `OneOf`.

    The default leaves out snow and mask, which hide parts of the picture: there is little to learn from inventing what
    is behind them, and they remain as degradations that a base has not seen.
    """

    degradations: Annotated[tuple[Alternative, ...], named_numbers("weight"), AfterValidator(completed)] = Field(
        (
            Alternative(name="gaussian-noise", weight=3),
            Alternative(name="poisson-noise"),
            Alternative(name="gaussian-blur"),
            Alternative(name="motion-blur"),
            Alternative(name="downsample", weight=2),
            Alternative(name="jpeg", weight=2),
            Alternative(name="rain", weight=2),
            Alternative(name="haze"),
            Alternative(name="low-light"),
        ),
        min_length=1,
        description="name:weight,name:weight,... or a list of {name, options, weight}",
    )

    @field_validator("degradations")
    @classmethod
    def _some_weight(cls, alternatives: tuple[Alternative, ...]) -> tuple[Alternative, ...]:
        if not any(alternative.weight > 0 for alternative in alternatives):
            raise ValueError("expected at least one weight above 0")
        return alternatives


class OneOf(ConfiguredDegradation):
    """Each image draws one degradation; the probability of the i-th is ``weight_i / sum_j weight_j``.

    Source: pre-training on a mixture, Chen et al., "AdaIR: Exploiting Underlying Similarities of Image Restoration
    Tasks with Adapters", arXiv 2404.11475.
    """

    config: OneOfConfig

    def __init__(self, config: OneOfConfig) -> None:
        super().__init__(config)
        self.alternatives = tuple(plugins().degradation(choice) for choice in config.degradations)
        self.cumulative = tuple(accumulate(choice.weight for choice in config.degradations))

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw which, then its own choices."""
        position = uniform((0.0, self.cumulative[-1]), generator)
        index = next(i for i, end in enumerate(self.cumulative) if position < end)
        return {"index": index, "draws": self.alternatives[index].draw(shape, generator)}

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Degrade the images, those of one kind together."""
        return degrade_groups(images, draws, self.alternatives, lambda draw: draw["index"])


SPEC = DegradationSpec(name="one-of", summary="one of several, drawn for each image", config=OneOfConfig, build=OneOf)
