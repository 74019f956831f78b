"""The oracle is rliable: its definitions, by SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from harness.reporting.statistics.mean_variance import two_way
from harness.reporting.statistics.robust import (
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(1, 1, (3, 15)).round(1), RNG.normal(0.5, 1, (4, 15)).round(1)


def test_interquartile_mean_is_the_trimmed_mean_and_a_bad_case_does_not_carry_it() -> None:
    found = interquartile_mean(FIRST)
    assert found.value == pytest.approx(stats.trim_mean(FIRST, 0.25, axis=None))
    assert found.low < found.value < found.high
    worse = FIRST.copy()
    worse[:, FIRST.mean(axis=0).argmin()] = -1000
    assert abs(interquartile_mean(worse).value - found.value) < 0.5
    assert interquartile_mean(worse).high - interquartile_mean(worse).low < 2 * (found.high - found.low)


def test_a_mean_of_uniform_halves_has_the_interval_of_the_drawn_in_scores() -> None:
    table = np.arange(16.0).reshape(2, 8)
    half = two_way(np.clip(table, 4, 11) * 2).half_width()
    assert interquartile_mean(table).high == pytest.approx(7.5 + half)


def test_probability_of_improvement_is_the_mean_of_mann_and_whitneys_statistic() -> None:
    tasks = [stats.mannwhitneyu(FIRST[:, i], SECOND[:, i]).statistic / 12 for i in range(15)]
    found = probability_of_improvement(FIRST, SECOND, paired=False)
    assert found.value == pytest.approx(np.mean(tasks))
    assert 0 <= found.low < found.value < found.high <= 1
    back = probability_of_improvement(SECOND, FIRST, paired=False)
    assert (back.value, back.low, back.high) == pytest.approx(
        (1 - found.value, 1 - found.high, 1 - found.low)
    )


def test_seeds_that_are_paired_share_what_they_add_to_both() -> None:
    shared = RNG.normal(0, 3, (4, 1))
    first, second = (shared + RNG.normal(0, 1, (4, 20)) for _ in range(2))
    widths = [
        np.ptp([e.low, e.high]) for e in (probability_of_improvement(first, second, p) for p in (True, False))
    ]
    assert widths[0] < widths[1]


def test_an_arm_that_always_wins_has_no_interval() -> None:
    found = probability_of_improvement(FIRST + 100, FIRST, paired=True)
    assert found.value == 1
    assert math.isnan(found.low) and math.isnan(found.high)


def test_a_profile_counts_the_scores_above_each_level() -> None:
    levels = np.array([-100.0, 0.5, 1.0, 100.0])
    found = performance_profile(FIRST, levels)
    assert found.value.tolist() == [1, (FIRST > 0.5).mean(), (FIRST > 1).mean(), 0]
    assert np.isnan(found.low).tolist() == [True, False, False, True]
    assert found.high[1] == pytest.approx(
        min(1, found.value[1] + two_way((FIRST > 0.5).astype(float)).half_width())
    )
