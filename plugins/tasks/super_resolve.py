"""Restoring the detail of an image that was enlarged bicubically."""

from __future__ import annotations

from pydantic import Field

from adair_core import Choice, Config, Protocol, TaskSpec
from adair_plugins.tasks.protocol_files import load_protocol


class SuperResolveConfig(Config):
    """How much larger; each scale has its own protocol."""

    scale: int = Field(2, ge=2, le=4, description="how many times larger: 2, 3 or 4")


def degradation(config: SuperResolveConfig) -> Choice:
    """Shrink and enlarge again, both bicubically."""
    return Choice(name="downsample", options={"scale": [config.scale]})


def protocol(config: SuperResolveConfig) -> Protocol:
    """Judge the luma inside a border of `scale` pixels."""
    return load_protocol(f"super-resolve-x{config.scale}")


SPEC = TaskSpec(
    name="super-resolve",
    summary="enlarge 2, 3 or 4 times",
    config=SuperResolveConfig,
    degradation=degradation,
    protocol=protocol,
    # A multiple of every scale, so that patches shrink to whole pixels.
    defaults={"patch_size": 96},
)
