"""Giving pytest-benchmark times that were taken elsewhere.

It runs one competitor after another; ours take turns. So the rounds are timed first, and each benchmark then "runs" on
a clock that jumps by what was measured: its statistics, tables, files and comparisons are of the true times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

TICK = 1e-12
"""A clock that stood still would keep pytest-benchmark, which asks for its precision, waiting."""


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += TICK
        return self.now


clock = _Clock()
"""For ``@pytest.mark.benchmark(timer=clock)``."""


def replayed(seconds: Sequence[float]) -> Callable[[], None]:
    """A function of which call n takes ``seconds[n]`` on the `clock`."""
    times = iter(seconds)

    def call() -> None:
        clock.now += next(times)

    return call
