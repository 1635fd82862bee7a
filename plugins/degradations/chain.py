"""Several degradations, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from adair_core.degradation import ConfiguredDegradation, Draws, uniform
from adair_core.plugins import plugins
from adair_core.specs import Choice, Config, DegradationSpec
from adair_plugins.degradations.mixture import completed, degrade_groups, named_numbers
from adair_plugins.degradations.photons import draw_seed


class Link(Choice):
    """A degradation, and how often it is applied."""

    probability: float = Field(1.0, ge=0, le=1, description="probability that an image gets it")


class ChainConfig(Config):
    """Options of `Chain`."""

    degradations: Annotated[tuple[Link, ...], named_numbers("probability"), AfterValidator(completed)] = Field(
        (
            Link(name="gaussian-blur", options={"sigma": (0.5, 2.0)}, probability=0.7),
            Link(name="downsample", options={"scale": (2,)}, probability=0.5),
            Link(name="gaussian-noise", options={"sigma": (2.0, 25.0)}, probability=0.7),
            Link(name="jpeg", options={"quality": (40.0, 95.0)}, probability=0.7),
        ),
        min_length=1,
        description="name:probability,name,... or a list of {name, options, probability}, applied in this order",
    )


class Chain(ConfiguredDegradation):
    """Each image goes through the degradations in order, through each with its own probability.

    Equation::

        y = D_n^(b_n) ( ... D_1^(b_1) (x)),    b_i ~ Bernoulli(probability_i)

    Every link draws from a generator of its own, so that no link's options change the draws of another.

    Source: the classical pipeline blur, resize, noise, JPEG of Wang et al., "Real-ESRGAN", ICCVW 2021. By default the
    resized image is enlarged again before noise and JPEG, whose grain and blocks are then of the full size; to have
    them in the small image, as there and in the task ``hybrid``, give them to ``downsample`` as ``small``.
    """

    config: ChainConfig

    def __init__(self, config: ChainConfig) -> None:
        super().__init__(config)
        self.links = tuple(plugins().degradation(choice) for choice in config.degradations)

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Draw which links are applied, and the choices of those."""
        drawn: list[Draws] = []
        for link, choice in zip(self.links, self.config.degradations, strict=True):
            applied = uniform((0.0, 1.0), generator) < choice.probability
            own = torch.Generator().manual_seed(draw_seed(generator))
            drawn.append({"applied": applied, "draws": link.draw(shape, own) if applied else {}})
        return {"links": drawn}

    def degrade(self, images: Tensor, draws: Sequence[Draws]) -> Tensor:
        """Apply one link after another, each to the images that drew it."""
        for position, link in enumerate(self.links):
            own = [draw["links"][position] for draw in draws]
            images = degrade_groups(images, own, [link], lambda draw: 0 if draw["applied"] else -1)
        return images


SPEC = DegradationSpec(
    name="chain", summary="several, one after another, each with its probability", config=ChainConfig, build=Chain
)
