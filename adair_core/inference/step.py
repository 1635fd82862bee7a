"""One restoration of several that are made one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from adair_core.errors import UsageError, expected
from adair_core.model.adapted_backbone import AdaptedBackbone
from adair_core.model.restoring import check_strength


@dataclass(frozen=True, kw_only=True)
class Step:
    """A restoration: with which adapters, how much of it, and what is enlarged before it.

    Attributes:
        adapters: name -> how much of it, of adapters that the model has; empty = the base alone; None = those that are
            active.
        strength: out = in + strength * (restored - in).
        scale: enlarge so many times, bicubically, before restoring (super-resolution).

    Raises:
        UsageError: a value is out of range.
    """

    adapters: Mapping[str, float] | None = None
    strength: float = 1.0
    scale: int = 1

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if self.scale < 1:
            raise UsageError(expected("scale", expected="a whole number from 1", got=self.scale))

    @property
    def is_idle(self) -> bool:
        """Whether what comes out is what goes in."""
        return self.strength == 0 and self.scale == 1


@contextlib.contextmanager
def adapters_of(adapters: Mapping[str, float] | None, model: AdaptedBackbone) -> Iterator[None]:
    """Make adapters the model's active ones as long as the context lasts; nothing is loaded.

    Args:
        adapters: as a `Step` has them.
        model: that has them.

    Raises:
        UnknownNameError: the model has no such adapter.
        UsageError: the model is merged.
    """
    if adapters is None:
        yield
        return
    before = model.active
    model.set_adapters(list(adapters), list(adapters.values()))
    try:
        yield
    finally:
        model.set_adapters(list(before), list(before.values()))
