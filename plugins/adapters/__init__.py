"""The built-in adapter types."""

from __future__ import annotations

from collections.abc import Iterable

from adair_core.hookspecs import hookimpl
from adair_core.specs import AdapterSpec
from adair_plugins.adapters import bottleneck, full, lora, prompt


@hookimpl
def adair_adapters() -> Iterable[AdapterSpec]:
    """Offer the built-in adapter types."""
    return [lora.SPEC, bottleneck.SPEC, prompt.SPEC, full.SPEC]
