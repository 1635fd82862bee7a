"""The built-in tasks: what there is to restore, and the protocol that judges it.

A task's options say what to train on. Its protocol stays the standard one, except that the conditions which a range
of noise, blur or quality excludes are left out: who trains at ``--task.sigma 25`` alone is judged at 25 alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from adair_core import TaskSpec, hookimpl
from adair_plugins.tasks import (
    deblur,
    dehaze,
    dejpeg,
    denoise,
    derain,
    hybrid,
    low_light,
    pairs,
    real_denoise,
    super_resolve,
)


@hookimpl
def adair_tasks() -> Iterable[TaskSpec]:
    """Offer the built-in tasks."""
    modules = (denoise, real_denoise, deblur, derain, dehaze, super_resolve, dejpeg, low_light, hybrid, pairs)
    return [module.SPEC for module in modules]
