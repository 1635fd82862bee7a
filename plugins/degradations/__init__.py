"""The built-in degradations."""

from __future__ import annotations

from collections.abc import Iterable

from adair_core.hookspecs import hookimpl
from adair_core.specs import DegradationSpec
from adair_plugins.degradations import (
    camera_noise,
    chain,
    downsample,
    gaussian_blur,
    gaussian_noise,
    haze,
    jpeg,
    low_light,
    mask,
    motion_blur,
    one_of,
    poisson_noise,
    rain,
    snow,
)

MODULES = (
    gaussian_noise,
    poisson_noise,
    camera_noise,
    gaussian_blur,
    motion_blur,
    downsample,
    jpeg,
    rain,
    snow,
    haze,
    low_light,
    mask,
    chain,
    one_of,
)


@hookimpl
def adair_degradations() -> Iterable[DegradationSpec]:
    """Offer the built-in degradations."""
    return [module.SPEC for module in MODULES]
