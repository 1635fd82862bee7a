"""What an adapter is made of: one small module for each site that it changes.

There are two ways to change a frozen network, and each is a base class:

- `WeightAdapter` adds a delta to a module's parameters, ``W' = W + delta``. It can be merged.
- `FeatureAdapter` adds a residual to a module's output, ``y' = y + f(y)``. It cannot be merged.

Both must be the identity when new: exactly one factor is zero, so that the others still receive gradients.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import Self

from adair_core.errors import UsageError, listing
from adair_core.ops import low_rank_weight
from adair_core.ops.epilogue import Epilogue
from adair_core.specs import Config, Site, SiteKind


class _SiteModule(nn.Module):
    """What both kinds share.

    Attributes:
        file_names: name of a parameter or buffer -> what files call it, where that differs.
    """

    file_names: Mapping[str, str] = MappingProxyType({})


class WeightAdapter(_SiteModule, ABC):
    """Adds a delta to the parameters of the module at a site."""

    @abstractmethod
    def delta(self) -> Mapping[str, Tensor]:
        """Compute what to add to the parameters.

        Returns:
            Parameter name relative to the site (such as ``"weight"``) -> tensor of that parameter's shape, in the
            dtype of the adapter (float32 in training: small deltas vanish in bfloat16).
        """

    def fold(self, parameters: Mapping[str, Tensor], strength: float) -> Mapping[str, Tensor]:
        """Compute the changed parameters, ``W' = W + strength * delta``.

        Override it where the sum can be had without the delta itself.

        Args:
            parameters: the module's parameters, relative to the site, in float32 or float64.
            strength: how much of the adapter is used.

        Returns:
            The changed ones alone, in the dtype of `parameters`.
        """
        return {
            name: parameters[name] + (strength * delta).to(parameters[name].dtype)
            for name, delta in self.delta().items()
        }


class LowRankAdapter(WeightAdapter):
    """The weight of a convolution plus a product of two thin matrices, ``W' = W + scale * B A``.

    Weights are matrices of ``out_channels`` rows and ``in_channels / groups * k * k`` columns. New ones are the
    identity: B is zero and A is Kaiming-uniform. Files hold it in PEFT's form.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, equation 3.

    Args:
        shape: of the weight, ``(out_channels, in_channels / groups, k, k)``.
        rank: columns of B, rows of A.
        scale: factor of the product, ``alpha / rank`` in LoRA.

    Attributes:
        a: ``(rank, in_channels / groups, k, k)``.
        b: ``(out_channels, rank, 1, 1)``.
    """

    file_names = MappingProxyType({"a": "lora_A.weight", "b": "lora_B.weight"})

    def __init__(self, shape: tuple[int, ...], *, rank: int, scale: float) -> None:
        super().__init__()
        out_channels, in_channels, height, width = shape
        self.shape, self.rank, self.scale = (out_channels, in_channels, height, width), rank, scale
        self.a = nn.Parameter(torch.empty(rank, in_channels, height, width))
        self.b = nn.Parameter(torch.zeros(out_channels, rank, 1, 1))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def delta(self) -> Mapping[str, Tensor]:
        """Compute ``scale * B A`` as ``{"weight": (out_channels, in_channels / groups, k, k)}``."""
        product = self.b.flatten(1) @ self.a.flatten(1)
        return {"weight": self.scale * product.view(self.shape)}

    def fold(self, parameters: Mapping[str, Tensor], strength: float) -> Mapping[str, Tensor]:
        """Compute ``W + strength * scale * B A`` in one operator."""
        return {"weight": low_rank_weight(parameters["weight"], self.a, self.b, strength * self.scale)}


class FeatureAdapter(_SiteModule, ABC):
    """Adds a residual to the output of the module at a site."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Compute what to add to the features.

        Args:
            features: ``(B, C, H, W)``, the module's output.

        Returns:
            The residual alone, ``(B, C, H, W)``, not its sum with the features.
        """

    def add_to(self, output: Tensor, features: Tensor, strength: float) -> Tensor:
        """Compute ``output + strength * residual``. Override it where the sum costs less than the residual and the sum.

        Args:
            output: ``(B, C, H, W)``, the features, or those after other adapters.
            features: ``(B, C, H, W)``, the module's own output.
            strength: how much of the adapter is used.
        """
        residual: Tensor = self(features)
        return output + (residual if strength == 1 else strength * residual)

    def add_with_skip(self, skip: Tensor, features: Tensor, strength: float) -> Tensor:
        """Compute ``skip + features + strength * residual``, where a block adds its input to its adapted branch.

        Override it where that costs less than `add_to` and the sum.

        Args:
            skip: ``(B, C, H, W)``, the block's input, in the dtype of `features`.
            features: ``(B, C, H, W)``, the branch's own output.
            strength: how much of the adapter is used.
        """
        return skip + self.add_to(features, features, strength)

    @classmethod
    def add_to_each(
        cls, output: Tensor, features: Tensor, adapters: Sequence[tuple[Self, float] | None], counts: Sequence[int]
    ) -> Tensor:
        """Compute `add_to` for a batch whose images have different adapters of this class.

        Override it where they can be computed together.

        Args:
            output: see `add_to`.
            features: see `add_to`.
            adapters: each with its strength; ``None`` leaves images as they are.
            counts: how many images of the batch have each of them: the first ones have the first.

        Returns:
            ``(B, C, H, W)`` in the dtype of `output`.
        """
        shares = zip(adapters, torch.split(output, list(counts)), torch.split(features, list(counts)), strict=True)
        return torch.cat(
            [
                own if chosen is None else chosen[0].add_to(own, seen, chosen[1]).to(output.dtype)
                for chosen, own, seen in shares
            ]
        )

    @classmethod
    def add_each_with_skip(
        cls, skip: Tensor, features: Tensor, adapters: Sequence[tuple[Self, float] | None], counts: Sequence[int]
    ) -> Tensor:
        """Compute `add_with_skip` for a batch whose images have different adapters of this class.

        Override it where it costs less than `add_to_each` and the sum.

        Args:
            skip: see `add_with_skip`.
            features: see `add_with_skip`.
            adapters: see `add_to_each`.
            counts: see `add_to_each`.

        Returns:
            ``(B, C, H, W)`` in the dtype of `features`.
        """
        return skip + cls.add_to_each(features, features, adapters, counts)

    @classmethod
    def epilogue(cls, adapters: Sequence[tuple[Self, float] | None], counts: Sequence[int]) -> Epilogue | None:
        """Describe the adapters as what the kernel of a branch can add to its own output.

        Override it in adapters that are bottlenecks; the other methods must agree with it.

        Args:
            adapters: each with its strength; ``None`` adds nothing.
            counts: how many images of the batch have each of them; empty: all have the only one.
        """
        del adapters, counts
        return None


Adapter = WeightAdapter | FeatureAdapter


@dataclass(frozen=True)
class PeftFactors:
    """What a PEFT file says, from which an adapter type makes its own options (`AdapterSpec.from_peft`).

    Attributes:
        rank: of all factors.
        alpha: the change is scaled by ``alpha / rank``.
        sites: the convolutions that the file has factors for.
    """

    rank: int
    alpha: float
    sites: tuple[Site, ...]


class AdapterConfig(Config):
    """Base of the configurations of adapter types whose sites a user may choose.

    Globs are matched with a site's whole path; ``*`` matches dots too.
    """

    kinds: tuple[SiteKind, ...] | None = Field(None, description="site kinds to adapt; none = all that the type fits")
    include: tuple[str, ...] = Field(("*",), description="globs of site paths to adapt, such as *.attn.*")
    exclude: tuple[str, ...] = Field((), description="globs of site paths to leave alone")
    blocks_only: bool = Field(False, description="leave sites outside the backbone's residual blocks alone")

    def select(self, fitting: Sequence[Site], declared: Sequence[Site]) -> list[Site]:
        """Choose among the sites that the adapter type fits.

        Args:
            fitting: the sites to choose from.
            declared: all sites of the backbone. A residual block is a module that holds one of kind ``branch``.

        Raises:
            UsageError: a pattern matches no site, or nothing is left.
        """
        for pattern in (*self.include, *self.exclude):
            if not any(fnmatchcase(site.path, pattern) for site in fitting):
                raise UsageError(f"site pattern {pattern!r} matches no site; {_examples(fitting)}")
        blocks = {site.path.rpartition(".")[0] for site in declared if site.kind == "branch"}
        chosen = [
            site
            for site in fitting
            if (self.kinds is None or site.kind in self.kinds)
            and any(fnmatchcase(site.path, pattern) for pattern in self.include)
            and not any(fnmatchcase(site.path, pattern) for pattern in self.exclude)
            and (not self.blocks_only or any(_inside(site.path, block) for block in blocks))
        ]
        if not chosen:
            raise UsageError(f"kinds, include, exclude and blocks_only leave no site to adapt; {_examples(fitting)}")
        return chosen


def _inside(path: str, block: str) -> bool:
    return not block or path.startswith(f"{block}.")


def _examples(sites: Sequence[Site]) -> str:
    return f"sites that could be adapted: {listing([site.path or '(the whole backbone)' for site in sites]) or 'none'}"
