"""Means and their confidence intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from adair_core.evaluation import bootstrap


def test_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, 3.0, 60)
    ours = bootstrap(values.tolist())
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.mean == pytest.approx(values.mean(), abs=1e-12)
    # Four standard errors of an end with 2,000 resamples are 6 % of the width.
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    samples = generator.normal(30, 2, (200, 40))
    covered = sum(s.low <= 30 <= s.high for s in (bootstrap(sample.tolist()) for sample in samples))
    assert 0.88 * 200 <= covered <= 0.99 * 200


def test_same_values_give_the_same_interval() -> None:
    values = [1.0, 4.0, 2.0, 8.3, 5.1, 7.7, 3.9]
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, seed=1) != bootstrap(values)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    statistic = bootstrap([30.0, math.inf, 34.0, math.nan, math.inf])
    assert (statistic.mean, statistic.count, statistic.infinite, statistic.undefined) == (32, 2, 2, 1)
    assert math.isfinite(statistic.low)


def test_one_value_has_no_interval() -> None:
    statistic = bootstrap([30.0])
    assert statistic.mean == 30
    assert math.isnan(statistic.low)
    assert math.isnan(statistic.high)


def test_all_infinite_is_infinite_and_nothing_is_nan() -> None:
    assert bootstrap([math.inf, math.inf]).mean == math.inf
    assert math.isnan(bootstrap([]).mean)
    assert math.isnan(bootstrap([math.nan]).mean)
    assert math.isnan(bootstrap([math.inf, -math.inf]).mean)
