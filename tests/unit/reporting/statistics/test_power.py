import math

import numpy as np
import pytest
from scipy import stats

from harness.reporting.statistics.mean_variance import Components, two_way
from harness.reporting.statistics.power import (
    expected_variance,
    fewest_needed,
    power,
    smallest_difference,
)

PARTS = Components(seed=0.3, case=2.0, residual=1.0)


def of_students_test(difference: float, sd: float, number: int, level: float) -> float:
    """Power of the one-sample t test, by the noncentral t distribution."""
    critical, shift = stats.t.ppf(1 - level / 2, number - 1), difference / sd * math.sqrt(number)
    return stats.nct.sf(critical, number - 1, shift) + stats.nct.cdf(-critical, number - 1, shift)


@pytest.mark.parametrize("level", [0.05, 0.005])
@pytest.mark.parametrize("difference", [0.3, 0.8, 1.2])
def test_one_source_of_variance_has_the_power_of_students_test(difference, level):
    of_cases = expected_variance(Components(seed=0, case=1, residual=0), seeds=3, cases=20)
    assert power(difference, of_cases, level) == pytest.approx(
        of_students_test(difference, 1, 20, level), abs=0.01
    )
    of_seeds = expected_variance(Components(seed=1, case=0, residual=0), seeds=5, cases=20)
    assert power(difference, of_seeds, level) == pytest.approx(
        of_students_test(difference, 1, 5, level), abs=0.01
    )


def test_power_is_how_often_the_test_finds_a_difference():
    rng, k, n, found = np.random.default_rng(1), 3, 20, 0
    for _ in range(2000):
        table = (
            1.5
            + rng.normal(0, math.sqrt(PARTS.seed), (k, 1))
            + rng.normal(0, math.sqrt(PARTS.case), n)
            + rng.normal(0, math.sqrt(PARTS.residual), (k, n))
        )
        found += abs(table.mean()) > two_way(table).half_width()
    assert power(1.5, expected_variance(PARTS, k, n)) == pytest.approx(found / 2000, abs=0.05)


def test_without_a_difference_the_power_is_the_size_of_the_test():
    assert 0.02 < power(0, expected_variance(PARTS, 3, 50)) < 0.06


def test_the_smallest_difference_is_found_as_often_as_wanted():
    variance = expected_variance(PARTS, 4, 30)
    assert power(smallest_difference(variance, wanted=0.8), variance) == pytest.approx(0.8, abs=1e-3)
    assert smallest_difference(variance, level=0.01) > smallest_difference(variance)
    assert smallest_difference(variance, wanted=0.9) > smallest_difference(variance)
    assert math.isnan(smallest_difference(two_way(np.ones((3, 12)))))


def test_fewer_seeds_or_cases_than_needed_do_not_suffice():
    def with_seeds(seeds):
        return expected_variance(PARTS, seeds, 50)

    def with_cases(cases):
        return expected_variance(PARTS, 5, cases)

    for variance_of, difference in ((with_seeds, 0.8), (with_cases, 1.0)):
        number = fewest_needed(variance_of, difference, 3, 500)
        assert number and power(difference, variance_of(number)) >= 0.8
        assert power(difference, variance_of(number - 1)) < 0.8
    assert fewest_needed(with_seeds, 50.0, 3, 500) == 3


def test_what_cases_leave_open_no_number_of_seeds_decides_and_the_other_way_round():
    of_cases, of_seeds = Components(seed=0, case=9, residual=0), Components(seed=9, case=0, residual=0)
    assert fewest_needed(lambda seeds: expected_variance(of_cases, seeds, 12), 0.5, 3, 200) is None
    assert fewest_needed(lambda cases: expected_variance(of_seeds, 3, cases), 0.5, 12, 10_000) is None


def test_variances_that_were_estimated_below_zero_count_as_none():
    assert power(0.5, expected_variance(Components(-1, 2, 1), 3, 50)) == power(
        0.5, expected_variance(Components(0, 2, 1), 3, 50)
    )
