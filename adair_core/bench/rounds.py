"""Times of competitors, taken in turn.

A machine drifts: its clock, its caches, its other programs. Competitors that run one after another meet different
machines; competitors that take turns, a round of all of them and then the next round, meet the same one.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

Clock = Callable[[], float]
"""Seconds that only grow."""

SHORTEST = 0.005
"""A measurement lasts at least this many seconds: what is faster is called several times, and divided."""

SLOW = 1.0
"""What takes longer than this many seconds is warm after one call."""


class Competitor(Protocol):
    """Something that can be timed."""

    def warm_up(self) -> None:
        """Run until compilers, caches and the allocator have settled."""

    def seconds(self) -> float:
        """Run, and return the seconds of one call."""

    def close(self) -> None:
        """Free what it holds."""


class Local:
    """A function of this process.

    Args:
        function: what is timed.
        clock: in seconds.
        warm_ups: calls before anything is timed, at least one.
        warm: whether a call that has been made took as long as one that is warm, and longer than `SLOW`: then no other
            is made.
    """

    def __init__(
        self,
        function: Callable[[], object],
        *,
        clock: Clock = time.perf_counter,
        warm_ups: int = 2,
        warm: bool = False,
    ) -> None:
        self._function, self._clock, self._warm_ups = function, clock, warm_ups
        self._calls, self._warm = 1, warm

    def warm_up(self) -> None:
        """Call it; then find how many calls one measurement needs."""
        if self._warm:
            return
        for _ in range(self._warm_ups):
            took = self._time(1)
            if took > SLOW:
                break
        self._calls = max(1, math.ceil(SHORTEST / took)) if took > 0 else 1

    def seconds(self) -> float:
        """The mean of one measurement's calls."""
        return self._time(self._calls) / self._calls

    def close(self) -> None:
        """Forget the function and with it its tensors."""
        self._function = _nothing

    def _time(self, calls: int) -> float:
        began = self._clock()
        for _ in range(calls):
            self._function()
        return self._clock() - began


def interleave(
    competitors: Mapping[str, Competitor],
    *,
    least: int,
    most: int,
    budget: float,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Time warmed-up competitors in rounds of one measurement each.

    Every round starts with another competitor, so that none always follows the same one.

    Args:
        competitors: name -> competitor.
        least: rounds that are taken however long they last.
        most: rounds that are not exceeded.
        budget: seconds after which no further round begins.
        clock: for the budget.

    Returns:
        Name -> the seconds of each round, as many for each.
    """
    names = list(competitors)
    times: dict[str, list[float]] = {name: [] for name in names}
    if not names:
        return times
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = clock()
        for number in range(most):
            if number >= least and clock() - began > budget:
                break
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                times[name].append(competitors[name].seconds())
    finally:
        if collecting:
            gc.enable()
    return times


def _nothing() -> None:
    """What a closed competitor runs."""
