import math

import numpy as np
import pytest
from scipy import stats

from harness.reporting.statistics.ranking import (
    RESAMPLES,
    drawn_ranks,
    kendall_tau,
    rank_arms,
    rank_frequencies,
    ranks,
    ranks_by_test,
)

CASES, NOISE = np.random.default_rng(0).normal(0, 2, 40), np.random.default_rng(1)


def arm(level: float, seeds: int = 5, seed_sd: float = 0.0) -> np.ndarray:
    return level + CASES + NOISE.normal(0, seed_sd, (seeds, 1)) + NOISE.normal(0, 0.5, (seeds, 40))


def test_ranks_do_not_depend_on_the_order_of_a_sum() -> None:
    values = np.array([0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1, 0.5])
    assert values[0] != values[1]
    assert ranks(values, higher_is_better=True).tolist() == [1, 1, 3]
    assert ranks(values, higher_is_better=False).tolist() == [2, 2, 1]
    assert ranks(values, True, "average").tolist() == [1.5, 1.5, 3]
    table = np.stack([values] * 12)
    assert rank_arms(table, True).average.tolist() == [1.5, 1.5, 3]


def test_draws_of_seeds_and_cases_scatter_as_the_two_variances_say() -> None:
    """How often the better of two arms leads, against the normal distribution of their difference."""
    first, second = arm(0.3, seed_sd=0.4), arm(0.0, seed_sd=0.4)
    drawn = drawn_ranks([first, second], False, True, np.random.default_rng(0))
    assert drawn.shape == (RESAMPLES, 2)
    gap = first - second.mean(axis=0)
    of_seeds = sum(one.mean(axis=1).var(ddof=1) / 5 for one in (first, second))
    error = math.sqrt(of_seeds + (first.mean(axis=0) - second.mean(axis=0)).var(ddof=1) / 40)
    expected = stats.norm.cdf((first.mean() - second.mean()) / error)
    assert gap.shape == first.shape
    assert (drawn[:, 0] == 1).mean() == pytest.approx(expected, abs=0.05)


def test_shared_seeds_are_drawn_together_and_one_seed_stays() -> None:
    shared = NOISE.normal(0, 5, (5, 1))
    first, second = arm(0.5) + shared, arm(0.0) + shared
    together = drawn_ranks([first, second], True, True, np.random.default_rng(0))
    apart = drawn_ranks([first, second], False, True, np.random.default_rng(0))
    assert (together[:, 0] == 1).mean() > 0.95 > (apart[:, 0] == 1).mean()
    alone = drawn_ranks([arm(5, seeds=1), arm(0, seeds=1)], True, True, np.random.default_rng(0))
    assert (alone == [1, 2]).all()


def test_frequencies_add_to_one_and_ties_share_the_better_rank() -> None:
    drawn = np.array([[1, 2, 3], [2, 1, 3], [1, 1, 3], [1, 2, 3]])
    found = rank_frequencies(drawn)
    assert found.tolist() == [[0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 1]]


def test_an_order_by_test_counts_whom_an_arm_beats() -> None:
    better = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], bool)
    assert ranks_by_test(better).tolist() == [1, 2, 2, 4]


def test_kendalls_tau_of_a_reversed_and_of_a_tied_order() -> None:
    """tau-b by hand: (concordant - discordant) / sqrt(pairs without ties in one * in the other)."""
    assert kendall_tau(np.array([1, 2, 3]), np.array([3, 2, 1])) == -1
    assert kendall_tau(np.array([1, 2, 3]), np.array([1, 2, 2])) == pytest.approx(2 / math.sqrt(3 * 2))
    assert math.isnan(kendall_tau(np.array([1, 2, 3]), np.array([1, 1, 1])))


@pytest.mark.parametrize(("arms", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_of_demsars_table(arms: int, q: float) -> None:
    # Demsar 2006, table 5(a): critical values for the two-tailed Nemenyi test at 0.05
    values = np.random.default_rng(0).normal(0, 1, (14, arms))
    expected = q * math.sqrt(arms * (arms + 1) / (6 * 14))
    assert rank_arms(values, True).critical == pytest.approx(expected, rel=5e-4)


def test_friedman_with_ties_by_hand() -> None:
    values = np.round(np.random.default_rng(0).normal([0, 0.4, 0.8], 1, (14, 3)), 0)
    values = np.vstack([values, [np.nan, 1, 2]])  # a case without all values does not count
    ranking = rank_arms(values, higher_is_better=True)
    by_hand = np.array(
        [[1 + (row > v).sum() + ((row == v).sum() - 1) / 2 for v in row] for row in values[:14]]
    )
    assert ranking.average == pytest.approx(by_hand.mean(0)) and ranking.cases == 14
    tie_free = 12 * 14 / (3 * 4) * ((by_hand.mean(0) - 2) ** 2).sum()
    ties = sum((n**3 - n) for row in values[:14] for n in np.unique(row, return_counts=True)[1])
    assert ranking.p == pytest.approx(stats.chi2.sf(tie_free / (1 - ties / (14 * (3**3 - 3))), 2))


def test_equal_values_and_few_cases_give_a_reason() -> None:
    ranking = rank_arms(np.full((20, 3), 0.5), higher_is_better=True)
    assert ranking.reason and list(ranking.average) == [2, 2, 2]
    assert rank_arms(np.zeros((11, 3)), True).reason == "11 cases, 12 needed"
    assert rank_arms(np.zeros((20, 2)), True).reason == "2 arms, 3 needed"
