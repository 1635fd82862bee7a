"""A bottleneck beside each branch: fewer channels, a look at the neighbours, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import Self

from adair_core.adapter import AdapterConfig, FeatureAdapter
from adair_core.derived import Derived
from adair_core.ops import bottleneck
from adair_core.ops.epilogue import Epilogue
from adair_core.ops.stacks import Stacks
from adair_core.specs import AdapterSpec, Site


class BottleneckConfig(AdapterConfig):
    """How narrow the bottleneck is."""

    width: int = Field(8, ge=1, description="channels inside the bottleneck; size grows in proportion")


class Bottleneck(FeatureAdapter):
    """The residual ``f(y) = scale * up(GELU(depthwise3x3(down(y))))``.

    New ones are the identity: `up` is zero, and the learned scale is 1.

    Source: Houlsby et al., Parameter-Efficient Transfer Learning for NLP, 2019, figure 2; the depthwise convolution
    gives it the neighbourhood that degradations have.

    Args:
        channels: of the features.
        width: channels inside.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, width, 1)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.up = nn.Conv2d(width, channels, 1)
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.zeros_(self.up.weight)
        assert self.up.bias is not None
        nn.init.zeros_(self.up.bias)
        self._derived = Derived[Tensor]()
        self._stacks = Stacks()

    def forward(self, features: Tensor) -> Tensor:
        """Compute the residual of features ``(B, C, H, W)``."""
        return bottleneck(features, *self._parameters_in_order(), self.scale)

    def add_to(self, output: Tensor, features: Tensor, strength: float) -> Tensor:
        """Compute the sum in one operator."""
        return self.epilogue([(self, strength)], ()).add_to(features, output, residual=False)

    def add_with_skip(self, skip: Tensor, features: Tensor, strength: float) -> Tensor:
        """Compute the sum of three in one operator."""
        return self.epilogue([(self, strength)], ()).add_to(features, skip)

    @classmethod
    def add_to_each(
        cls, output: Tensor, features: Tensor, adapters: Sequence[tuple[Self, float] | None], counts: Sequence[int]
    ) -> Tensor:
        """Compute the sums of all images in one operator."""
        return cls.epilogue(adapters, counts).add_to(features, output, residual=False)

    @classmethod
    def add_each_with_skip(
        cls, skip: Tensor, features: Tensor, adapters: Sequence[tuple[Self, float] | None], counts: Sequence[int]
    ) -> Tensor:
        """Compute the sums of three of all images in one operator."""
        return cls.epilogue(adapters, counts).add_to(features, skip)

    @classmethod
    def epilogue(cls, adapters: Sequence[tuple[Self, float] | None], counts: Sequence[int]) -> Epilogue:
        """Describe the adapters for the kernel of a branch."""
        first = next(entry[0] for entry in adapters if entry is not None)
        return Epilogue(
            tuple(
                None if entry is None else (*entry[0]._parameters_in_order(), entry[0]._scale(entry[1]))
                for entry in adapters
            ),
            tuple(counts),
            first._stacks,
        )

    def _scale(self, strength: float) -> Tensor:
        if strength == 1:
            return self.scale
        return self._derived.get(("scale", strength), (self.scale,), lambda: strength * self.scale)

    def _parameters_in_order(self) -> tuple[Any, ...]:
        down, depthwise, up = self.down, self.depthwise, self.up
        return down.weight, down.bias, depthwise.weight, depthwise.bias, up.weight, up.bias


def build(config: BottleneckConfig, site: Site) -> Bottleneck:
    """Make the bottleneck of one branch."""
    return Bottleneck(site.channels, config.width)


SPEC = AdapterSpec(
    name="bottleneck",
    summary="a narrow convolutional bottleneck added to each branch",
    config=BottleneckConfig,
    kinds=frozenset({"branch"}),
    build=build,
    defaults={"optimizer": "muon", "learning_rate": 5e-3},  # docs/base.md, "Bottlenecks and prompts"
)
