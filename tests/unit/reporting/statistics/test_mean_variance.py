import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from harness.reporting.statistics.mean_variance import components, seed_quantile, together, two_way

RNG = np.random.default_rng(0)


def crossed(k=4, n=15, seed=1.0, case=1.0, residual=1.0, rng=RNG):
    return (
        rng.normal(0, seed, (k, 1)) + rng.normal(0, case, n) + rng.normal(0, residual, (k, n))
    )  # fmt: skip


def test_seeds_alone_make_students_test_of_their_means():
    table = np.repeat(RNG.normal(0.5, 1, (5, 1)), 20, axis=1)
    found = two_way(table)
    expected = stats.ttest_1samp(table[:, 0], 0)
    assert found.p(table.mean()) == pytest.approx(expected.pvalue, abs=1e-9)
    low, high = expected.confidence_interval()
    assert 2 * found.half_width() == pytest.approx(high - low)


def test_cases_alone_make_students_test_of_cases():
    table = np.repeat(RNG.normal(0.5, 1, (1, 20)), 3, axis=0)
    assert two_way(table).p(table.mean()) == pytest.approx(stats.ttest_1samp(table[0], 0).pvalue, abs=1e-9)


def test_two_groups_of_seeds_make_welchs_test():
    first, second = (np.repeat(RNG.normal(0, sd, (4, 1)), 20, axis=1) for sd in (3, 0.3))
    expected = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    assert two_way(first, -second).p((first - second).mean()) == pytest.approx(expected.pvalue, abs=1e-9)


def test_components_are_the_mean_squares_by_hand():
    table = crossed(seed=2, case=3)
    k, n = table.shape
    of_seeds = n * ((table.mean(1) - table.mean()) ** 2).sum() / (k - 1)
    of_cases = k * ((table.mean(0) - table.mean()) ** 2).sum() / (n - 1)
    total = ((table - table.mean()) ** 2).sum()
    residual = (total - of_seeds * (k - 1) - of_cases * (n - 1)) / ((k - 1) * (n - 1))
    found = components(table)
    assert found.residual == pytest.approx(residual)
    assert found.seed == pytest.approx((of_seeds - residual) / n)
    assert found.case == pytest.approx((of_cases - residual) / k)
    by_parts = found.seed / k + found.case / n + found.residual / (k * n)
    assert two_way(table).variance == pytest.approx(by_parts)


@given(level=st.floats(1e-6, 0.5), k=st.integers(3, 8), n=st.integers(12, 40), seed=st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_p_is_the_level_whose_interval_just_leaves_zero_out(level, k, n, seed):
    found = two_way(crossed(k, n, seed, rng=np.random.default_rng(n)))
    assert found.p(float(found.half_width(level))) == pytest.approx(level, rel=1e-4)


def test_p_falls_with_the_estimate_and_is_never_zero():
    found = two_way(crossed(k=3))
    ps = [found.p(estimate) for estimate in np.linspace(0, 60, 200)]
    assert ps[0] == 1
    assert all(later < earlier for earlier, later in pairwise(ps))
    assert 0 < found.p(1e200) < 1e-9


def test_in_the_tails_fewer_seeds_may_agree_by_chance():
    assert seed_quantile(0.1) == seed_quantile(0.05) == 0.3
    assert seed_quantile(0.05 / 32) < 0.05
    found = two_way(crossed(k=3, seed=0.3))
    assert found.freedom(0.05 / 32) < found.freedom(0.05)


def test_means_of_other_seeds_and_cases_add_up():
    first, second = two_way(crossed()), two_way(crossed(n=30))
    both = together([first, second])
    assert both.variance == pytest.approx(first.variance + second.variance)
    assert min(first.freedom(), second.freedom()) <= both.freedom() <= first.freedom() + second.freedom() + 60


def test_scores_that_do_not_vary_have_no_p():
    assert math.isnan(two_way(np.ones((3, 12))).p(1.0))


def test_many_tables_at_once_are_as_one_by_one():
    tables, others = (RNG.normal(size=(6, k, 15)) for k in (3, 4))
    half = two_way(tables, -others).half_width(0.01)
    alone = [two_way(one, -other).half_width(0.01) for one, other in zip(tables, others, strict=True)]
    assert half == pytest.approx(alone)


def test_components_are_those_of_statsmodels_analysis_of_variance():
    table = crossed(k=5, n=20, seed=2, case=3)
    seed, case = (index.ravel() for index in np.indices(table.shape))
    rows = {"value": table.ravel(), "seed": seed, "case": case}
    squares = anova_lm(ols("value ~ C(seed) + C(case)", rows).fit())["mean_sq"].to_numpy()
    found = components(table)
    expected = ((squares[0] - squares[2]) / 20, (squares[1] - squares[2]) / 5, squares[2])
    assert (found.seed, found.case, found.residual) == pytest.approx(expected, rel=1e-9)
