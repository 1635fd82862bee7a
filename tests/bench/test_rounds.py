"""Interleaving, with clocks and competitors that are made up."""

from __future__ import annotations

import gc

import pytest

from adair_core.bench.rounds import SHORTEST, SLOW, Local, interleave


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Scripted:
    """Takes the given seconds, one after the other, and writes down when it was asked."""

    def __init__(self, name, script, log, clock=None):
        self.name, self.script, self.log, self.clock = name, iter(script), log, clock

    def warm_up(self):
        self.log.append(f"warm {self.name}")

    def seconds(self):
        self.log.append(self.name)
        taken = next(self.script)
        if self.clock is not None:
            self.clock.now += taken
        return taken

    def close(self):
        pass


def test_competitors_take_turns_and_each_round_starts_with_another():
    log = []
    competitors = {name: Scripted(name, [float(i) for i in range(10)], log) for name in "abc"}
    times = interleave(competitors, least=4, most=4, budget=0.0)
    assert log == [*"abc", *"bca", *"cab", *"abc"]
    assert times == {name: [0.0, 1.0, 2.0, 3.0] for name in "abc"}


@pytest.mark.parametrize(("budget", "rounds"), [(0.0, 2), (35.0, 4), (1e9, 6)])
def test_rounds_end_with_the_budget_but_not_before_the_least(budget, rounds):
    clock, log = FakeClock(), []
    competitors = {"slow": Scripted("slow", [9.0] * 9, log, clock), "fast": Scripted("fast", [1.0] * 9, log, clock)}
    times = interleave(competitors, least=2, most=6, budget=budget, clock=clock)
    assert [len(seconds) for seconds in times.values()] == [rounds, rounds]


def test_nobody_to_time():
    assert interleave({}, least=3, most=3, budget=1.0) == {}


def test_no_garbage_is_collected_while_the_clock_runs():
    seen = []

    class Watching(Scripted):
        def seconds(self):
            seen.append(gc.isenabled())
            return 1.0

    interleave({"a": Watching("a", [], [])}, least=1, most=1, budget=0.0)
    assert seen == [False]
    assert gc.isenabled()


def test_garbage_is_collected_again_after_a_failure():
    with pytest.raises(StopIteration):
        interleave({"a": Scripted("a", [], [])}, least=1, most=1, budget=0.0)
    assert gc.isenabled()


def timed(cost):
    """A function that costs `cost` seconds on its clock, its clock, and the list of its calls."""
    clock, calls = FakeClock(), []

    def function():
        clock.now += cost
        calls.append(cost)

    return function, clock, calls


def test_a_measurement_of_something_fast_is_the_mean_of_many_calls():
    function, clock, calls = timed(SHORTEST / 8)
    competitor = Local(function, clock=clock)
    competitor.warm_up()
    calls.clear()
    assert competitor.seconds() == pytest.approx(SHORTEST / 8)
    assert len(calls) in (8, 9)


def test_something_slow_is_called_once_and_warms_up_once():
    function, clock, calls = timed(2 * SLOW)
    competitor = Local(function, clock=clock)
    competitor.warm_up()
    assert len(calls) == 1
    assert competitor.seconds() == pytest.approx(2 * SLOW)
    assert len(calls) == 2


def test_warm_up_is_not_measured():
    costs = iter([50.0, 1.0, 1.0])
    clock = FakeClock()

    def function():
        clock.now += next(costs)

    competitor = Local(function, clock=clock)
    competitor.warm_up()
    assert competitor.seconds() == pytest.approx(1.0)


def test_what_is_warm_already_is_not_called_again():
    function, clock, calls = timed(2 * SLOW)
    competitor = Local(function, clock=clock, warm=True)
    competitor.warm_up()
    assert not calls
    assert competitor.seconds() == pytest.approx(2 * SLOW)
