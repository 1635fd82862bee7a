"""LoRA: a convolution's weight plus a product of two thin matrices."""

from __future__ import annotations

from pydantic import Field

from adair_core.adapter import AdapterConfig, LowRankAdapter
from adair_core.specs import AdapterSpec, Site, SiteKind

KINDS: frozenset[SiteKind] = frozenset({"conv1x1", "dwconv", "conv3x3"})


class LoraConfig(AdapterConfig):
    """Which convolutions LoRA changes, and with how many numbers."""

    rank: int = Field(8, ge=1, description="rank of the weight change; size grows in proportion")
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


SPEC = AdapterSpec(
    name="lora",
    summary="low-rank change of convolution weights; merges into the base at no cost",
    config=LoraConfig,
    kinds=KINDS,
    build=build,
    presets={"1.9M": {"rank": 16}, "1.9MB": {"rank": 4}},
)
