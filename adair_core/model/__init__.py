"""The network that restores: a frozen base, its sites, its adapters."""

from __future__ import annotations

from adair_core.model.adapter_card import AdapterCard
from adair_core.model.backbone import BaseInfo, build_backbone, declared_sites, resolve_backbone
from adair_core.model.files import load_base, save_base
from adair_core.model.load import load, untrained
from adair_core.model.restoration_model import RestorationModel
from adair_core.model.smaller_tiles import SmallerTilesWarning
from adair_core.model.tiling import tiled
from adair_core.model.weights_file import fingerprint

__all__ = [
    "AdapterCard",
    "BaseInfo",
    "RestorationModel",
    "SmallerTilesWarning",
    "build_backbone",
    "declared_sites",
    "fingerprint",
    "load",
    "load_base",
    "resolve_backbone",
    "save_base",
    "tiled",
    "untrained",
]
