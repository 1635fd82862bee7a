"""The built-in tasks: what there is to restore, and the protocol that judges it."""

from __future__ import annotations

from collections.abc import Iterable

from adair_core import TaskSpec, hookimpl
from adair_plugins.tasks import denoise


@hookimpl
def adair_tasks() -> Iterable[TaskSpec]:
    """Offer the built-in tasks."""
    return [denoise.SPEC]
