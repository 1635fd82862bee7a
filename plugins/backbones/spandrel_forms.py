"""Which shapes of the built-in backbones spandrel recognises.

Spandrel asks for certain names, such as those of each level's first block, and takes everything else from shapes. Read
from its versions 0.4.2 and (for Restormer) spandrel-extra-arches 0.2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adair_core import SpandrelForm

if TYPE_CHECKING:
    from adair_plugins.backbones.nafnet import NAFNetConfig
    from adair_plugins.backbones.restormer import RestormerConfig

_PUBLISHED_EXPANSION = 2.66


def _restormer_problem(config: RestormerConfig) -> str:
    if min(*config.blocks, config.refinement) < 1:
        found = f"blocks {config.blocks} and refinement {config.refinement}"
        return f"it expects at least one block at each level and one of refinement, got {found}"
    # Only the first level's hidden channels are read; those of the others must follow from them.
    widths = [config.dim * factor for factor in (1, 2, 4, 8)]
    own = [int(width * config.expansion) for width in widths]
    published = own[0] == int(config.dim * _PUBLISHED_EXPANSION)
    read = _PUBLISHED_EXPANSION if published else own[0] / config.dim
    understood = [int(width * read) for width in widths]
    if own != understood:
        return (
            f"it reads the expansion from the first level, as {read:.4g}, which gives {understood} hidden channels at "
            f"the four levels instead of the {own} of expansion {config.expansion}"
        )
    return ""


def _nafnet_problem(config: NAFNetConfig) -> str:
    if config.in_channels != config.out_channels:
        return f"it expects as many channels in as out, got {config.in_channels} and {config.out_channels}"
    blocks = (*config.encoder, config.middle, *config.decoder)
    if not config.encoder or min(blocks) < 1:
        found = f"encoder {config.encoder}, middle {config.middle} and decoder {config.decoder}"
        return f"it expects at least one level, and a block in each and in the middle, got {found}"
    return ""


def _restormer_correction(config: RestormerConfig) -> str | None:
    return None if config.dual_pixel else "output"


def _nafnet_correction(_: Any) -> str:
    return "ending"


RESTORMER = SpandrelForm(
    architecture="Restormer",
    package="spandrel-extra-arches",
    problem=_restormer_problem,
    correction=_restormer_correction,
)
NAFNET = SpandrelForm(architecture="NAFNet", package="spandrel", problem=_nafnet_problem, correction=_nafnet_correction)
