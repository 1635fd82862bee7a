from __future__ import annotations

import random
import statistics

import pytest

from adair_core.bench.ratios import ratio


def test_ratio_of_medians_by_hand():
    assert ratio([1.0, 100.0, 3.0], [2.0, 2.0, 0.5]).value == 1.5


def test_one_round_has_no_spread():
    found = ratio([3.0], [2.0])
    assert (found.value, found.low, found.high) == (1.5, 1.5, 1.5)


def test_what_slows_a_whole_round_down_cancels():
    """A machine that changes its speed tenfold between rounds leaves the paired ratio certain."""
    draw = random.Random(0)
    below = [draw.choice([1.0, 10.0]) for _ in range(21)]
    above = [2.0 * value for value in below]
    paired, apart = ratio(above, below), ratio(above, below, paired=False)
    assert (paired.low, paired.high) == (2.0, 2.0)
    assert apart.high / apart.low > 5


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Lognormal rounds with a true ratio of 1.3: the interval holds it in about 95 of 100 runs."""
    draw = random.Random(1)
    held = 0
    for trial in range(60):
        below = [draw.lognormvariate(0.0, 0.1) for _ in range(25)]
        above = [1.3 * draw.lognormvariate(0.0, 0.1) for _ in range(25)]
        found = ratio(above, below, seed=trial)
        held += found.low <= 1.3 <= found.high
    assert 52 <= held <= 60


def test_different_numbers_of_rounds():
    found = ratio([4.0] * 5, [2.0] * 3)
    assert found.value == statistics.median([4.0] * 5) / 2.0
    assert str(found) == "2.00 [2.00, 2.00]"


def test_no_rounds():
    with pytest.raises(statistics.StatisticsError):
        ratio([], [1.0])
