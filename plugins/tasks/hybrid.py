"""Restoring the photo that people actually have: small, noisy and compressed at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adair_core import Choice, Config, Protocol, Range, TaskSpec
from adair_core.degradation import in_bounds
from adair_plugins.tasks.protocol_files import load_protocol


class HybridConfig(Config):
    """What to train on; judged at the protocol's three conditions, reduced by the same scale."""

    scale: int = Field(2, ge=2, le=4, description="how many times larger the result is than the photo")
    blur: Annotated[Range, in_bounds(0, 100)] = Field(
        (0.5, 2.0), description="standard deviation of the lens's blur, in pixels of the result; half of the images"
    )
    sigma: Annotated[Range, in_bounds(0, 255)] = Field(
        (0.0, 20.0), description="standard deviation of the small photo's noise, of 255"
    )
    quality: Annotated[Range, in_bounds(1, 100)] = Field((40.0, 95.0), description="the small photo's JPEG quality")


def degradation(config: HybridConfig) -> Choice:
    """Blur, shrink, add noise and compress, then enlarge again."""
    small = [
        {"name": "gaussian-noise", "options": {"sigma": list(config.sigma)}},
        {"name": "jpeg", "options": {"quality": list(config.quality), "subsampling": "random", "shifted": 0.5}},
    ]
    links = [
        {"name": "gaussian-blur", "options": {"sigma": list(config.blur)}, "probability": 0.5},
        {"name": "downsample", "options": {"scale": [config.scale], "small": small}},
    ]
    return Choice(name="chain", options={"degradations": links})


def protocol(config: HybridConfig) -> Protocol:
    """Judge on three fixed small photos."""
    found = load_protocol("hybrid")
    conditions = []
    for condition in found.conditions:
        assert condition.degradation is not None
        options = {**condition.degradation.options, "scale": [config.scale]}
        label = condition.label.replace("x2", f"x{config.scale}")
        reduced = condition.degradation.model_copy(update={"options": options})
        conditions.append(condition.model_copy(update={"label": label, "degradation": reduced}))
    update = {"conditions": tuple(conditions), "crop": config.scale, "multiple_of": config.scale}
    return found.model_copy(update=update)


SPEC = TaskSpec(
    name="hybrid",
    summary="enlarge small, noisy JPEG photos",
    config=HybridConfig,
    degradation=degradation,
    protocol=protocol,
    # A multiple of every scale, so that patches shrink to whole pixels.
    defaults={"patch_size": 96},
)
