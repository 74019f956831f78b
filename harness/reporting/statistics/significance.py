"""Is a difference between two arms more than chance? Pure functions on arrays of scores.

Every seed of an arm scores the same test cases, so seeds and cases are crossed, and "more than chance" has two
meanings that are kept apart:

- *these networks, new cases*: the trained networks are fixed, cases are drawn anew. Wilcoxon's signed-rank test
  on the cases' differences (means over seeds), and a studentised paired bootstrap over cases.
- *retraining*: seeds and cases are both drawn anew, as by somebody who repeats the experiment. A two-way model
  of the differences of paired seeds, or with random seeds within arms; its interval is Student's with
  Satterthwaite's degrees of freedom (:mod:`harness.reporting.statistics.mean_variance`).

What a report calls a case here is a patient: the mean over the cases of one. Below a least number of cases or seeds a test gives a reason in place of a result. Within these limits
``tests/benchmarks/statistics_simulation.py`` holds the false-positive rates and the coverages to what docs/statistics.md says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import stats

from harness.data.part_counts import FEWEST_TESTED, FEWEST_TESTED_RETRAINING
from harness.reporting.statistics.mean_variance import FloatArray, MeanVariance, Part, together, two_way

LEVEL = 0.05
LEAST_CASES = FEWEST_TESTED
"""Fewest cases for "these networks". With 6 the signed-rank test reaches p = 0.031 at best, with 5 not even 0.05."""
LEAST_CASES_RETRAINING, LEAST_SEEDS = FEWEST_TESTED_RETRAINING, 3
RESAMPLES = 2000
_MOST_ENUMERATED = 13  # pairs whose 2^n signs are all tried where ranks are tied
_DECIMALS = 10  # of scores before they are ranked: what differs by less differs by the order of sums


@dataclass(frozen=True)
class Significance:
    """The result of a test of a difference, or why there is none.

    Attributes:
        p: two-sided, before any correction; NaN where ``reason`` is given.
        low, high: the 95 % interval of the difference.
        smallest_p: the smallest ``p`` that so many cases can reach.
        reason: why there is neither p nor interval.
        variance: of the difference, of a test for retraining.
    """

    p: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    smallest_p: float = float("nan")
    reason: str = ""
    variance: MeanVariance | None = None


@dataclass(frozen=True)
class Comparison:
    """The difference of two arms, first minus second.

    Attributes:
        difference: of the means over seeds and cases.
        these_networks: for new cases.
        retraining: for new seeds and new cases.
        rank_biserial: matched-pairs rank-biserial correlation, -1 to 1.
        standardised: mean over standard deviation of the cases' differences (Cohen's d_z).
    """

    difference: float
    these_networks: Significance
    retraining: Significance
    rank_biserial: float
    standardised: float


def compare(groups: Sequence[FloatArray], rng: np.random.Generator) -> Comparison:
    """Compare two arms whose networks scored the same cases.

    Args:
        groups: the differences of paired seeds ``(seeds, cases)``, or the scores of one arm and the negative ones of the other;
            without NaN.
        rng: of the bootstrap.
    """
    differences = np.sum([group.mean(axis=0) for group in groups], axis=0)
    return Comparison(
        difference=float(differences.mean()) if len(differences) else float("nan"),
        these_networks=new_cases_test(differences, rng),
        retraining=mean_test(*groups),
        rank_biserial=rank_biserial(differences),
        standardised=_standardised(differences),
    )


def new_cases_test(differences: FloatArray, rng: np.random.Generator) -> Significance:
    """Return Wilcoxon's signed-rank test and the studentised bootstrap interval of paired differences ``(cases,)``."""
    differences = np.round(differences, _DECIMALS)
    smallest = smallest_signed_rank_p(differences)
    reason = _too_few(len(differences), LEAST_CASES, "case")
    if not reason and np.ptp(differences) == 0:
        reason = "all cases differ by the same amount"
    reason = reason or _too_few(int(np.count_nonzero(differences)), LEAST_CASES, "case with a difference")
    if reason:
        return Significance(smallest_p=smallest, reason=reason)
    low, high = bootstrap_interval(differences, rng)
    return Significance(signed_rank_p(differences), low, high, smallest)


def signed_rank_p(differences: FloatArray) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test; zeros are dropped, few tied ranks are enumerated."""
    nonzero = differences[differences != 0]
    sizes, number = np.abs(nonzero), len(nonzero)
    if len(np.unique(sizes)) == number:
        ranks = sizes.argsort().argsort() + 1
        return _untied_p(number, int(ranks[nonzero > 0].sum()))
    method: str | stats.PermutationMethod = "auto"
    if number <= _MOST_ENUMERATED:
        method = stats.PermutationMethod(n_resamples=2**_MOST_ENUMERATED)
    return float(stats.wilcoxon(nonzero, method=method).pvalue)


@cache
def _untied_p(number: int, rank_sum: int) -> float:
    """Return SciPy's p of so many differences without ties: that of any whose positive ones have this rank sum.

    A report asks thousands of times, and mostly for the same.
    """
    found, left = [], rank_sum
    for rank in range(number, 0, -1):
        found.append(rank if rank <= left else -rank)
        left -= rank if rank <= left else 0
    return float(stats.wilcoxon(found).pvalue)


def smallest_signed_rank_p(differences: FloatArray) -> float:
    """Return the p of a signed-rank test in which every non-zero difference has one sign."""
    return float(min(1.0, 2.0 ** (1 - np.count_nonzero(differences))))


def bootstrap_interval(differences: FloatArray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the studentised (bootstrap-t) 95 % interval of the mean of paired differences ``(cases,)``.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 12.5. The plain percentile
    interval is too short for a dozen cases.
    """
    n, mean = len(differences), differences.mean()
    error = differences.std(ddof=1) / np.sqrt(n)
    drawn = differences[rng.integers(0, n, (RESAMPLES, n))]
    errors = drawn.std(axis=1, ddof=1) / np.sqrt(n)
    t = (drawn.mean(axis=1) - mean)[errors > 0] / errors[errors > 0]
    low, high = np.quantile(t, (LEVEL / 2, 1 - LEVEL / 2))
    return float(mean - high * error), float(mean - low * error)


def retraining_test(first: FloatArray, second: FloatArray, paired: bool = False) -> Significance:
    """Return the test and interval of the difference of two arms for new seeds and new cases.

    Where seeds are paired the test is one of differences, so that what the arms of a seed have in common drops out (first weights,
    patches, few cases that it drew). Else each arm has a variance between seeds of its own (Welch).

    Args:
        first: ``(k1, n)`` scores without NaN.
        second: ``(k2, n)``.
        paired: the rows of both are the same seeds, in the same order.
    """
    return mean_test(*((first - second,) if paired else (first, -second)))


def mean_test(*groups: FloatArray) -> Significance:
    """Return the test and interval of the sum of the groups' means for new seeds and new cases.

    Args:
        groups: ``(seeds, cases)`` each, without NaN: weighted scores of seeds that the groups do not share, on the same cases.
    """
    return mean_test_of_sets([groups])


def mean_test_of_sets(sets: Sequence[Sequence[FloatArray]], same_seeds: bool = True) -> Significance:
    """Return the same for a sum over sets of other cases, such as datasets.

    Args:
        sets: the groups of each.
        same_seeds: whether all sets have the same seeds, in the same order; else no two of them share a seed.
    """
    fewest = min(len(group) for groups in sets for group in groups)
    cases = min(groups[0].shape[1] for groups in sets)
    reason = _too_few(fewest, LEAST_SEEDS, "seed") or _too_few(cases, LEAST_CASES_RETRAINING, "case")
    if reason:
        return Significance(reason=reason)
    return student_test(
        float(sum(group.mean() for groups in sets for group in groups)), variance_of_sets(sets, same_seeds)
    )


def student_test(middle: float, variance: MeanVariance) -> Significance:
    """Return the test and interval of an estimate with a variance."""
    if not variance.variance > 0:
        return Significance(reason="no variance between seeds and cases")
    half = float(variance.half_width(LEVEL))
    return Significance(variance.p(middle), middle - half, middle + half, 0.0, variance=variance)


def variance_of_sets(sets: Sequence[Sequence[FloatArray]], same_seeds: bool) -> MeanVariance:
    """Return the variance of the sum of all groups' means; see :func:`mean_test_of_sets`."""
    variances = [two_way(*groups) for groups in sets]
    joined = together(variances)
    if len(sets) == 1 or not same_seeds or any(len(groups) > 1 for groups in sets):
        return joined
    seeds = sum(groups[0].mean(axis=1) for groups in sets)
    return replace(joined, seeds=(Part(float(np.var(seeds, ddof=1)) / len(seeds), len(seeds) - 1),))


def mean_interval(arm: FloatArray) -> Significance:
    """Return the interval of an arm's own mean for new seeds and new cases, by the same model; ``p`` is of a mean of zero.

    Args:
        arm: ``(seeds, cases)`` scores without NaN.
    """
    return mean_test(arm)


def equivalence_p(test: Significance, difference: float, margin: float) -> float:
    """Return the larger p of two one-sided tests that a difference is within a margin; NaN without a test.

    It is below 5 % where the 90 % interval lies within the margin.

    Source: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987).

    Args:
        test: of the difference, for retraining.
        difference, margin: in one unit; the margin is above 0.
    """
    if test.variance is None:
        return float("nan")
    one_sided = test.variance.p(margin - abs(difference)) / 2
    return one_sided if abs(difference) < margin else 1 - one_sided


def rank_biserial(differences: FloatArray) -> float:
    """Return the matched-pairs rank-biserial correlation: the share of rank sums in favour minus that against."""
    differences = np.round(differences, _DECIMALS)
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 0.0 if len(differences) else float("nan")
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())


def _standardised(differences: FloatArray) -> float:
    if len(differences) < 2 or np.ptp(differences) == 0:
        return float("nan")
    return float(differences.mean() / differences.std(ddof=1))


def _too_few(found: int, needed: int, noun: str) -> str:
    """Return why ``found`` do not suffice; the first word of ``noun`` takes the plural."""
    first, _, rest = noun.partition(" ")
    plural = "" if found == 1 else "s"
    return f"{found} {first}{plural}{' ' if rest else ''}{rest}, {needed} needed" if found < needed else ""


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, by Holm's step-down rule; NaN stays, and does not count."""
    corrected, largest = [float("nan")] * len(p), 0.0
    order = sorted((i for i, value in enumerate(p) if not np.isnan(value)), key=lambda i: p[i])
    for position, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - position) * p[i]))
        corrected[i] = largest
    return corrected
