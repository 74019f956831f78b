"""Tests and intervals against worked examples, formulas by hand and other libraries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.reporting.statistics import significance
from harness.reporting.statistics.significance import (
    compare,
    equivalence_p,
    holm,
    new_cases_test,
    retraining_test,
)

# Depression scores of nine patients before and after (Hollander and Wolfe 1973, the example of R's wilcox.test).
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def enumerated_p(differences: np.ndarray) -> float:
    """Return the signed-rank p by trying all signs."""
    nonzero = differences[differences != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    seen = abs((ranks * np.sign(nonzero)).sum())
    all_sums = [abs(np.dot(ranks, signs)) for signs in itertools.product((-1, 1), repeat=len(nonzero))]
    return float(np.mean(np.array(all_sums) >= seen - 1e-9))


def test_signed_rank_of_the_worked_example_of_r() -> None:
    verdict = new_cases_test(BEFORE - AFTER, generator())
    assert verdict.p == pytest.approx(0.03906, abs=5e-6)  # R: V = 40, p-value = 0.03906
    assert verdict.smallest_p == pytest.approx(2 / 2**9)


@given(st.lists(st.integers(-3, 3), min_size=6, max_size=9))
@settings(max_examples=50, deadline=None)
def test_signed_rank_with_ties_and_zeros_equals_the_enumeration_of_signs(values: list[int]) -> None:
    differences = np.array(values, float)
    if not differences.any():
        return
    assert significance.signed_rank_p(differences) == pytest.approx(enumerated_p(differences))


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.floats(-2, 2))
@settings(max_examples=50, deadline=None)
def test_signed_rank_without_ties_is_scipys_to_the_last_bit(seed: int, number: int, shift: float) -> None:
    differences = np.random.default_rng(seed).normal(shift, 1, number)
    assert significance.signed_rank_p(differences) == stats.wilcoxon(differences).pvalue


def test_bootstrap_t_is_students_interval_for_many_normal_differences_and_wider_than_percentiles_for_few() -> (
    None
):
    many = np.random.default_rng(3).normal(1.0, 2.0, 400)
    student = stats.ttest_1samp(many, 0).confidence_interval(0.95)
    assert significance.bootstrap_interval(many, generator()) == pytest.approx(tuple(student), abs=0.02)
    few = many[:12]
    percentile = stats.bootstrap((few,), np.mean, method="percentile", rng=generator()).confidence_interval
    assert np.ptp(significance.bootstrap_interval(few, generator())) > 1.1 * np.ptp(percentile)


@pytest.mark.parametrize("seeds", [3, 4])
def test_retraining_by_hand(seeds: int) -> None:
    """Three seeds against as many or another number: each arm has variances of its own."""
    rng = np.random.default_rng(5)
    arms = [rng.normal(0, 1, (k, 14)) + rng.normal(0, 2, (k, 1)) + rng.normal(0, 2, 14) for k in (3, seeds)]
    n, parts, residual = 14, [], 0.0
    for arm in arms:
        k, grand, by_seed, by_case = len(arm), arm.mean(), arm.mean(1), arm.mean(0)
        parts.append((sum((m - grand) ** 2 for m in by_seed) / (k - 1) / k, k - 1))
        left = (
            ((arm - grand) ** 2).sum()
            - n * ((by_seed - grand) ** 2).sum()
            - k * ((by_case - grand) ** 2).sum()
        )
        residual += left / ((k - 1) * (n - 1)) / (k * n)
    cases = (arms[0].mean(0) - arms[1].mean(0)).var(ddof=1) / n
    assert cases > residual
    variance = cases - residual + sum(part for part, _ in parts)
    upper = [
        (part * free / stats.chi2.ppf(0.3, free), free) for part, free in parts
    ]  # 70 % confidence limits
    freedom = (cases - residual + sum(part for part, _ in upper)) ** 2 / (
        cases**2 / (n - 1) + sum(part**2 / free for part, free in upper)
    )
    middle, half = arms[0].mean() - arms[1].mean(), stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    verdict = retraining_test(*arms)
    assert (verdict.low, verdict.high) == pytest.approx((middle - half, middle + half))
    p = 2 * stats.t.sf(abs(middle) / math.sqrt(variance), freedom)
    assert p > 0.05 and verdict.p == pytest.approx(p)


def test_equivalent_is_what_two_one_sided_tests_say() -> None:
    """Where cases alone vary they are Student's; the 90 % interval touches the margin where their p is 5 %."""
    differences = np.random.default_rng(4).normal(0.1, 0.3, 20)
    table = np.tile(differences, (3, 1)) + np.array([[1e-6], [-2e-6], [1e-6]])
    test, middle = retraining_test(table, np.zeros((3, 20)), paired=True), float(table.mean())
    one_sided = max(
        stats.ttest_1samp(differences, -0.3, alternative="greater").pvalue,
        stats.ttest_1samp(differences, 0.3, alternative="less").pvalue,
    )
    assert equivalence_p(test, middle, 0.3) == pytest.approx(one_sided, rel=1e-3)
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    edge = max(abs(low), abs(high))
    assert equivalence_p(test, middle, edge) == pytest.approx(0.05, rel=1e-3)
    assert equivalence_p(test, middle, abs(middle) / 2) > 0.5
    assert math.isnan(equivalence_p(retraining_test(table[:2], table[:2], paired=True), 0.0, 1.0))


@pytest.mark.parametrize("decimals", [0, 2])
def test_the_order_of_sums_makes_no_ranks(decimals: int) -> None:
    """Differences that are equal in decimals are ties, by whatever sums they came about."""
    exact = np.round(np.random.default_rng(1).normal(0.3, 1, 12), decimals)
    noisy = exact + np.array([1e-16, -1e-16] * 6) * 3
    assert significance.rank_biserial(noisy) == significance.rank_biserial(exact)
    assert new_cases_test(noisy, generator()).p == new_cases_test(exact, generator()).p


def test_few_unstable_networks_against_many_stable_ones_are_not_pooled() -> None:
    """Three seeds that scatter against ten that do not: the error is that of the three, with their two degrees of freedom."""
    first = np.array([[1.0], [2.0], [3.0]]) + np.zeros((3, 20))
    second = np.zeros((10, 20))
    verdict = retraining_test(first, second)
    half = stats.t.ppf(0.975, 2) * math.sqrt(1 / 3)
    assert (verdict.low, verdict.high) == pytest.approx((2 - half, 2 + half))


# Dice in %, three networks of each arm on twelve cases, with ties.
FIRST = np.array([[70, 79, 83, 92, 53, 78, 71, 75, 60, 79, 79, 91],
                  [65, 72, 83, 85, 45, 73, 62, 68, 51, 74, 73, 85],
                  [70, 72, 84, 90, 51, 76, 69, 71, 56, 75, 79, 91]], float)  # fmt: skip
SECOND = np.array([[61, 64, 86, 73, 60, 72, 57, 82, 52, 68, 77, 82],
                   [59, 62, 84, 68, 57, 63, 55, 78, 51, 64, 76, 81],
                   [64, 67, 86, 72, 55, 65, 53, 80, 51, 66, 78, 82]], float)  # fmt: skip


def test_the_variance_of_a_difference_is_that_of_a_mixed_model() -> None:
    """statsmodels 0.15, mixedlm by REML with case, arm x case and seed as variance components: standard errors 3.05048 of
    the difference and 3.86768 of the first arm's mean."""
    for arms, error in (((FIRST, -SECOND), 3.05048), ((FIRST,), 3.86768)):
        variance = significance.mean_test(*arms).variance
        assert variance is not None and math.sqrt(variance.variance) == pytest.approx(error, rel=1e-3)
    verdict = retraining_test(FIRST, SECOND)
    assert (verdict.low + verdict.high) / 2 == pytest.approx(4.972222, abs=1e-6)
    # with all its variance from the seeds of one arm the interval would be t with 2 degrees of freedom wide, with none 11
    wide, narrow = (stats.t.ppf(0.975, f) * 3.05048 for f in (2, 11))
    assert narrow < (verdict.high - verdict.low) / 2 < wide


def test_a_case_component_below_zero_counts_as_zero() -> None:
    """Cases that do not differ at all: what is left is Welch's test of the seeds' means."""
    rng = np.random.default_rng(2)
    first, second = (rng.normal(0, 1, (3, 1)) + np.zeros((3, 15)) for _ in range(2))
    verdict = retraining_test(first, second)
    expected = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    assert verdict.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((interval.low, interval.high))


def test_what_paired_seeds_share_has_no_part_in_their_comparison() -> None:
    """Cases that do not differ at all: what is left is Student's paired test of the seeds' means, whatever they share."""
    rng = np.random.default_rng(3)
    own, drawn = rng.normal(0, 1, (2, 5, 1)), rng.normal(0, 50, (5, 1))
    first, second = (arm + drawn + np.zeros((5, 15)) for arm in own)
    verdict = retraining_test(first, second, paired=True)
    expected = stats.ttest_rel(first[:, 0], second[:, 0])
    interval = expected.confidence_interval(0.95)
    assert (verdict.p, verdict.low, verdict.high) == pytest.approx(
        (expected.pvalue, interval.low, interval.high)
    )
    unpaired = retraining_test(first, second)
    assert unpaired.high - unpaired.low > 10 * (verdict.high - verdict.low)


def test_retraining_without_seed_variance_is_the_paired_t_test_over_cases() -> None:
    by_case = np.random.default_rng(1).normal(0, 1, (2, 20))
    jitter = np.array([[0.001, -0.002, 0.001]]).T * np.sin(np.arange(20))
    jitter -= jitter.mean(axis=1, keepdims=True)
    first, second = by_case[0] + jitter, by_case[1] + jitter
    expected = stats.ttest_rel(first.mean(0), second.mean(0)).pvalue
    assert retraining_test(first, second).p == pytest.approx(expected)


def test_holm_of_the_worked_example() -> None:
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") in R gives 0.05 0.08 0.09 0.09 0.09
    assert holm([0.03, 0.01, 0.05, 0.02, 0.04]) == pytest.approx([0.09, 0.05, 0.09, 0.08, 0.09])
    assert holm([0.9, float("nan"), 0.6])[0] == 1.0
    assert math.isnan(holm([float("nan"), 0.01])[0]) and holm([float("nan"), 0.01])[1] == 0.01


@pytest.mark.parametrize(
    ("seeds", "cases", "of_networks", "of_retraining"),
    [(1, 50, "", "1 seed"), (2, 50, "", "2 seeds"), (3, 11, "", "11 cases"), (3, 5, "5 cases", "5 cases"),
     (3, 1, "1 case,", "1 case,"), (3, 0, "0 cases", "0 cases")],
)  # fmt: skip
def test_too_few_give_a_reason_and_no_verdict(
    seeds: int, cases: int, of_networks: str, of_retraining: str
) -> None:
    rng = np.random.default_rng(0)
    found = compare([rng.normal(0, 1, (seeds, cases))], rng)
    assert found.these_networks.reason.startswith(of_networks)
    assert bool(found.these_networks.reason) == bool(of_networks)
    assert found.retraining.reason.startswith(of_retraining)
    assert math.isnan(found.retraining.p) == bool(of_retraining)


def test_too_few_cases_that_differ_give_a_reason() -> None:
    differences = np.array([0.0] * 14 + [1, 2, 3, 4, 5, 6])
    verdict = new_cases_test(differences, generator())
    assert verdict.reason == "6 cases with a difference, 7 needed" and math.isnan(verdict.low)
    assert verdict.smallest_p == 2 / 2**6
    assert not new_cases_test(np.append(differences, -1.0), generator()).reason


def test_equal_values_give_a_reason() -> None:
    found = compare([np.full((3, 20), 0.5), np.full((3, 20), -0.5)], generator())
    assert found.difference == 0.0 and found.rank_biserial == 0.0 and math.isnan(found.standardised)
    assert found.these_networks.reason == "all cases differ by the same amount"
    assert found.retraining.reason == "no variance between seeds and cases"


def test_the_smallest_p_is_reached_when_all_cases_agree() -> None:
    differences = np.arange(1.0, 8.0)
    verdict = new_cases_test(differences, generator())
    assert verdict.p == verdict.smallest_p == pytest.approx(2 / 2**7)
    assert significance.rank_biserial(differences) == 1.0 and significance.rank_biserial(-differences) == -1.0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_comparison_turned_round_changes_its_sign(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 1, (3, 13)), rng.normal(0, 1, (4, 13))
    one, other = compare([first, -second], generator()), compare([second, -first], generator())
    assert one.difference == pytest.approx(-other.difference)
    assert one.these_networks.p == pytest.approx(other.these_networks.p)
    assert one.retraining.p == pytest.approx(other.retraining.p)
    assert one.retraining.low == pytest.approx(-other.retraining.high)
    assert one.these_networks.low == pytest.approx(-other.these_networks.high)
