"""The built-in backbones."""

from __future__ import annotations

from adair_core import BackboneSpec, hookimpl
from adair_plugins.backbones import nafnet, restormer


@hookimpl
def adair_backbones() -> list[BackboneSpec]:
    """Offer the built-in backbones."""
    return [nafnet.SPEC, restormer.SPEC]
