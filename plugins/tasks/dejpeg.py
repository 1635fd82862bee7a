"""Removing the artefacts of JPEG compression."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adair_core import Choice, Config, Protocol, Range, TaskSpec
from adair_core.degradation import in_bounds
from adair_plugins.degradations.jpeg import SHIFTED
from adair_plugins.tasks.protocol_files import load_protocol, within


class DejpegConfig(Config):
    """Which compression to train on; judged at those of quality 10, 20, 30 and 40 that lie in the range."""

    quality: Annotated[Range, in_bounds(1, 100)] = Field(
        (10, 90), description="JPEG quality, of 100: one number, or low,high for blind restoration"
    )
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0", "random"] = Field(
        "4:2:0", description="resolution of the colour channels in training"
    )
    shifted: float = Field(0.5, ge=0, le=1, description=SHIFTED)


def degradation(config: DejpegConfig) -> Choice:
    """Compress each image at a quality of its own."""
    return Choice(name="jpeg", options=config.model_dump(mode="json"))


def protocol(config: DejpegConfig) -> Protocol:
    """Judge at the standard qualities that the options leave."""
    return within(load_protocol("dejpeg"), "quality", config.quality)


SPEC = TaskSpec(
    name="dejpeg",
    summary="remove JPEG artefacts of unknown quality",
    config=DejpegConfig,
    degradation=degradation,
    protocol=protocol,
    defaults={"patch_size": 64},
)
