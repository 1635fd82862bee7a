"""Removing blur: Gaussian, or that of a camera which moved."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from adair_core import Choice, Config, Protocol, Range, TaskSpec
from adair_core.degradation import in_bounds
from adair_plugins.degradations.storage import STORED
from adair_plugins.tasks.protocol_files import load_protocol, within

OPTIONS_OF: dict[str, tuple[str, ...]] = {"gaussian": ("sigma",), "motion": ("length", "shake")}


class DeblurConfig(Config):
    """Which blur to train on; judged at the protocol's strengths that lie in the range."""

    kind: Literal["gaussian", "motion"] = Field("gaussian", description="gaussian (isotropic), or motion")
    sigma: Annotated[Range, in_bounds(0, 100)] = Field(
        (0.5, 4), description="gaussian: standard deviation, in pixels; a number or low,high"
    )
    length: Annotated[Range, in_bounds(0, 1000)] = Field(
        (4, 24), description="motion: length of the path, in pixels; a number or low,high"
    )
    shake: Annotated[Range, in_bounds(0, 1)] = Field((0, 0.8), description="motion: 0 = straight paths")
    stored: float = Field(1.0, ge=0, le=1, description=STORED)
    pairs: bool = Field(
        False, description="train and judge on folders of real pairs, as on GoPro, not on synthetic blur"
    )

    @model_validator(mode="after")
    def _refuse_options_of_the_other_kind(self) -> Self:
        for kind, names in OPTIONS_OF.items():
            for name in names:
                if kind != self.kind and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} belongs to kind {kind}, but the kind is {self.kind}")
        return self


def degradation(config: DeblurConfig) -> Choice | None:
    """Blur with a kernel drawn anew for each image."""
    if config.pairs:
        return None
    options = {**{name: list(getattr(config, name)) for name in OPTIONS_OF[config.kind]}, "stored": config.stored}
    if config.kind == "gaussian":
        return Choice(name="gaussian-blur", options={**options, "ratio": 1.0})
    return Choice(name="motion-blur", options=options)


def protocol(config: DeblurConfig) -> Protocol:
    """Judge at the strengths that the options leave, or on real pairs."""
    if config.pairs:
        return load_protocol("deblur-pairs")
    if config.kind == "gaussian":
        return within(load_protocol("deblur-gaussian"), "sigma", config.sigma)
    return within(load_protocol("deblur-motion"), "length", config.length)


SPEC = TaskSpec(
    name="deblur",
    summary="remove Gaussian or motion blur",
    config=DeblurConfig,
    degradation=degradation,
    protocol=protocol,
    defaults={"patch_size": 96},
)
