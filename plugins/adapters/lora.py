"""LoRA: a convolution's weight plus a product of two thin matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from adair_core.adapter import AdapterConfig, LowRankAdapter, PeftFactors
from adair_core.specs import AdapterSpec, Site, SiteKind

KINDS: frozenset[SiteKind] = frozenset({"conv1x1", "dwconv", "conv3x3"})


class LoraConfig(AdapterConfig):
    """Which convolutions LoRA changes, and with how many numbers."""

    rank: int = Field(16, ge=1, description="rank of the weight change; size grows in proportion")
    alpha: float | None = Field(
        None, gt=0, description="the change is scaled by alpha / rank; none = alpha is the rank"
    )
    kinds: tuple[SiteKind, ...] | None = Field(
        ("conv1x1",), description="convolutions to adapt: conv1x1, dwconv, conv3x3; none = all"
    )


def build(config: LoraConfig, site: Site) -> LowRankAdapter:
    """Make the factors of one convolution.

    A depthwise weight is a matrix of ``channels`` rows and ``k * k`` columns: more than ``k * k`` ranks say nothing
    new, so grouped convolutions get no more than their own.
    """
    shape = site.shapes["weight"]
    scale = 1.0 if config.alpha is None else config.alpha / config.rank
    rank = config.rank
    if site.groups > 1:
        rank = min(rank, shape[0], shape[1] * shape[2] * shape[3])
    return LowRankAdapter(shape, rank=rank, scale=scale)


def from_peft(factors: PeftFactors) -> Mapping[str, Any]:
    """Make the options of a LoRA that PEFT wrote."""
    return {
        "rank": factors.rank,
        "alpha": factors.alpha,
        "kinds": None,
        "include": tuple(site.path for site in factors.sites),
    }


SPEC = AdapterSpec(
    name="lora",
    summary="low-rank change of convolution weights; merges into the base at no cost",
    config=LoraConfig,
    kinds=KINDS,
    build=build,
    # Named by their size on the published Restormer: 1,913,472 parameters; 478,368 parameters of four bytes.
    presets={"1.9M": {"rank": 16, "blocks_only": True}, "1.9MB": {"rank": 4, "blocks_only": True}},
    from_peft=from_peft,
    defaults={"optimizer": "muon", "learning_rate": 5e-3},  # docs/base.md, "What keeps LoRA behind full fine-tuning"
)
