"""Paired differences against scipy, and against cases that can be counted by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import rankdata

from adair_core.evaluation.paired import difference, holm, least_images, least_p, paired, wilcoxon


def by_enumeration(differences: list[float]) -> float:
    """Wilcoxon's p from its definition: the share of all 2**n choices of signs that are at least as far from even."""
    ranks = rankdata(np.abs(differences))
    middle = ranks.sum() / 2
    seen = abs(ranks[np.array(differences) > 0].sum() - middle)
    signs = np.array(list(itertools.product([0, 1], repeat=len(ranks))))
    return float((np.abs(signs @ ranks - middle) >= seen - 1e-9).mean())


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        # Five of one sign: 2 of 32 choices are as extreme.
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2 / 32),
        # Ranks 1 to 6, of which 1 is negative: W = 1; the sums 0 and 1, one choice each, on both sides: 4 of 64.
        ([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 4 / 64),
        # 2 negative of 6 with ranks 1 and 3: W = 4. Sums 0..4 have 1, 1, 1, 2, 2 choices: 14 of 64.
        ([-0.1, 0.2, -0.3, 0.4, 0.5, 0.6], 14 / 64),
        ([0.7], 1.0),
        # The zero goes, five of one sign are left.
        ([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 2 / 32),
        # An infinite gain has the largest rank, however far the others reach.
        ([-0.1, 0.2, 0.3, 0.4, 0.5, math.inf], 4 / 64),
        ([0.0, 0.0], 1.0),
    ],
)
def test_wilcoxon_by_hand(differences: list[float], p: float) -> None:
    assert wilcoxon(differences) == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_wilcoxon_is_that_of_its_definition(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, 9).tolist()
    assert wilcoxon(differences) == pytest.approx(by_enumeration(differences), abs=1e-12)


def test_wilcoxon_with_ties_is_that_of_its_definition() -> None:
    differences = [0.5, 0.5, -0.5, 0.25, 1.0, 1.0, 0.75]
    assert wilcoxon(differences) == pytest.approx(by_enumeration(differences), abs=1e-12)


def test_nothing_has_no_p() -> None:
    assert math.isnan(wilcoxon([]))


def test_the_interval_is_that_of_scipys_paired_bootstrap() -> None:
    generator = np.random.default_rng(3)
    reference = generator.normal(30, 3, 50)
    candidate = reference + generator.gamma(2.0, 0.1, 50)
    found = difference((candidate - reference)[:, None].tolist(), higher_is_better=True).statistic
    theirs = scipy_bootstrap(
        (candidate, reference),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        paired=True,
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(4),
    ).confidence_interval
    width = theirs.high - theirs.low
    # The images differ by 3 dB and the candidates by 0.2: unpaired it would be ten times as wide.
    assert width < 0.1
    assert found.mean == pytest.approx((candidate - reference).mean(), abs=1e-12)
    assert found.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_wins_follow_the_direction_of_the_metric() -> None:
    values = [[0.1], [0.2], [-0.3], [0.0]]
    up, down = (difference(values, higher_is_better=higher) for higher in (True, False))
    assert (up.wins, up.losses, up.ties) == (2, 1, 1)
    assert (down.wins, down.losses, down.ties) == (1, 2, 1)
    assert up.statistic == down.statistic
    assert up.p == down.p


def test_infinite_differences_are_wins_but_in_no_mean_and_undefined_ones_are_nothing() -> None:
    found = difference([[math.inf], [1.0], [math.nan], [-1.0]], higher_is_better=True)
    assert (found.wins, found.losses, found.ties) == (2, 1, 0)
    assert (found.statistic.mean, found.statistic.count) == (0, 2)


@pytest.mark.parametrize(
    ("values", "wins", "losses", "mean"),
    [
        ([-5.0, -5.0, math.inf], 1, 0, -5.0),  # by the mean over three, which is infinite
        ([5.0, -math.inf], 0, 1, 5.0),
        ([math.inf, -math.inf, -1.0], 0, 1, -1.0),  # each is exact once: the rest decides
        ([math.inf, math.inf, -math.inf, -1.0], 1, 0, -1.0),
    ],
)
def test_who_is_exact_under_more_conditions_wins_an_image(
    values: list[float], wins: int, losses: int, mean: float
) -> None:
    found = difference([values], higher_is_better=True)
    assert (found.wins, found.losses, found.ties) == (wins, losses, 0)
    assert found.statistic.mean == mean
    worse = difference([[-value for value in values]], higher_is_better=False)
    assert (worse.wins, worse.losses) == (wins, losses)


def test_two_exact_restorations_are_equal() -> None:
    assert paired(math.inf, math.inf) == 0
    assert paired(30.0, math.inf) == math.inf
    assert math.isnan(paired(math.nan, 30.0))


def test_holm_by_hand() -> None:
    # Holm 1979: sorted 0.01, 0.03, 0.04 times 3, 2, 1; the last may not be below the one before.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    corrected = holm([math.nan, 0.02])
    assert math.isnan(corrected[0])
    assert corrected[1] == 0.02


def test_few_images_cannot_give_a_small_p() -> None:
    for count in (1, 4, 6, 9):
        assert wilcoxon([float(place) for place in range(1, count + 1)]) == pytest.approx(least_p(count))
    assert least_images(1) == 6
    assert least_p(least_images(3)) * 3 <= 0.05 < least_p(least_images(3) - 1) * 3
