"""Is a difference between two arms more than chance? Pure functions on arrays of scores.

Every seed of an arm scores the same test cases, so seeds and cases are crossed, and "more than chance" has two
meanings that are kept apart:

- *these networks, new cases*: the trained networks are fixed, cases are drawn anew. Wilcoxon's signed-rank test
  on the cases' differences (means over seeds), and a studentised paired bootstrap over cases.
- *retraining*: seeds and cases are both drawn anew, as by somebody who repeats the experiment. A two-way model
  with random cases and random seeds within arms, or of the differences of paired seeds; its interval is Student's with
  Satterthwaite's degrees of freedom.

Below a least number of cases or seeds a test gives a reason in place of a result. Within these limits
``tests/benchmarks/statistics_simulation.py`` finds false-positive rates of 3 to 6 % and coverages of 93 to 97 %; paired
seeds with the fewest seeds and cases have false-positive rates of 2 to 3 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.data.part_counts import FEWEST_TESTED, FEWEST_TESTED_RETRAINING

LEVEL = 0.05
LEAST_CASES = FEWEST_TESTED
"""Fewest cases for "these networks". With 6 the signed-rank test reaches p = 0.031 at best, with 5 not even 0.05."""
LEAST_CASES_RETRAINING, LEAST_SEEDS = FEWEST_TESTED_RETRAINING, 3
RESAMPLES = 2000
_MOST_ENUMERATED = 13  # pairs whose 2^n signs are all tried where ranks are tied
_VARIANCE_QUANTILE = 0.3
"""Share of samples whose seed variance is underestimated more than the degrees of freedom allow for."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Significance:
    """The result of a test of a difference, or why there is none.

    Attributes:
        p: two-sided, before any correction; NaN where ``reason`` is given.
        low, high: the 95 % interval of the difference.
        smallest_p: the smallest ``p`` that so many cases can reach.
        reason: why there is neither p nor interval.
    """

    p: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    smallest_p: float = float("nan")
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """The difference of two arms, first minus second.

    Attributes:
        difference: of the means over seeds and cases.
        cases: that all networks of both arms have a value for.
        dropped: cases that only some have a value for.
        seeds: how many networks the first and the second arm have.
        these_networks: for new cases.
        retraining: for new seeds and new cases.
        rank_biserial: matched-pairs rank-biserial correlation, -1 to 1.
        standardised: mean over standard deviation of the cases' differences (Cohen's d_z).
    """

    difference: float
    cases: int
    dropped: int
    seeds: tuple[int, int]
    these_networks: Significance
    retraining: Significance
    rank_biserial: float
    standardised: float


def compare_arms(
    first: FloatArray, second: FloatArray, rng: np.random.Generator, paired: bool = False
) -> Comparison:
    """Compare two arms whose networks scored the same cases.

    Args:
        first: ``(seeds, cases)``; NaN where a network has no value for a case.
        second: ``(seeds, cases)``, the same cases in the same order.
        rng: of the bootstrap.
        paired: see :func:`retraining_test`.
    """
    known = ~(np.isnan(first).any(axis=0) | np.isnan(second).any(axis=0))
    some = ~(np.isnan(first).all(axis=0) & np.isnan(second).all(axis=0))
    first, second = first[:, known], second[:, known]
    differences = first.mean(axis=0) - second.mean(axis=0)
    return Comparison(
        difference=float(differences.mean()) if len(differences) else float("nan"),
        cases=int(known.sum()),
        dropped=int((some & ~known).sum()),
        seeds=(len(first), len(second)),
        these_networks=new_cases_test(differences, rng),
        retraining=retraining_test(first, second, paired),
        rank_biserial=rank_biserial(differences),
        standardised=_standardised(differences),
    )


def new_cases_test(differences: FloatArray, rng: np.random.Generator) -> Significance:
    """Return Wilcoxon's signed-rank test and the studentised bootstrap interval of paired differences ``(cases,)``."""
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
    tied = len(np.unique(np.abs(nonzero))) < len(nonzero)
    method: str | stats.PermutationMethod = "auto"
    if tied and len(nonzero) <= _MOST_ENUMERATED:
        method = stats.PermutationMethod(n_resamples=2**_MOST_ENUMERATED)
    return float(stats.wilcoxon(nonzero, method=method).pvalue)


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

    Model: ``score = arm + case + arm x case + seed within arm + residual``, all but the arm random. The variance of
    the difference of the arms' means is ``case / n + seed1 / k1 + seed2 / k2 + residual (1/k1 + 1/k2) / n``, estimated by
    mean squares; a case component below zero counts as zero. Student's t with Satterthwaite's degrees of freedom
    (Biometrics Bulletin 2, 1946), for which the mean squares of the few seeds are taken at their upper 70 % confidence
    limits: where one is small by chance, it would give too many. Arms with equally many seeds are taken to have seeds of
    one variance; with a difference of seed numbers that would mislead, and each has its own, as in Welch's test.

    Where seeds are paired, what the arms of a seed have in common (the few cases that it drew) would count as variance
    of both, and hide their difference. The same model is then one of differences, ``case + seed + residual``.

    Args:
        first: ``(k1, n)`` scores without NaN.
        second: ``(k2, n)``.
        paired: the rows of both are the same seeds, in the same order, and a seed's arms share more than its number.
    """
    return _two_way_test(first - second) if paired else _two_way_test(first, second)


def mean_interval(arm: FloatArray) -> Significance:
    """Return the interval of an arm's own mean for new seeds and new cases, by the same model; ``p`` is of a mean of zero.

    Args:
        arm: ``(seeds, cases)`` scores without NaN.
    """
    return _two_way_test(arm)


def _two_way_test(*arms: FloatArray) -> Significance:
    """Return test and interval of the mean of one arm, or of the difference of the means of two."""
    fewest, n = min(len(arm) for arm in arms), arms[0].shape[1]
    reason = _too_few(fewest, LEAST_SEEDS, "seed") or _too_few(n, LEAST_CASES_RETRAINING, "case")
    if reason:
        return Significance(reason=reason)
    variance, freedom = _variance_of_mean(*arms)
    if not variance > 0:
        return Significance(reason="no variance between seeds and cases")
    middle, error = float(_contrast([arm.mean() for arm in arms])), float(np.sqrt(variance))
    half = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    return Significance(
        float(2 * stats.t.sf(abs(middle) / error, freedom)), middle - half, middle + half, 0.0
    )


def _contrast(means: Sequence[Any]) -> Any:
    """Return the mean of one arm, or the difference of the means of two."""
    return means[0] if len(means) == 1 else means[0] - means[1]


def _variance_of_mean(*arms: FloatArray) -> tuple[float, float]:
    """Return the variance of the mean of one arm or of the difference of two, and its degrees of freedom."""
    n, k = arms[0].shape[1], [len(arm) for arm in arms]
    squares = sum(float((_interaction(arm) ** 2).sum()) for arm in arms)
    residual = squares / ((sum(k) - len(arms)) * (n - 1)) * sum(1 / seeds for seeds in k) / n
    cases = float(np.var(_contrast([arm.mean(axis=0) for arm in arms]), ddof=1)) / n
    by_seed = [float(arm.mean(axis=1).var(ddof=1)) / len(arm) for arm in arms]
    equal = len(set(k)) == 1
    seeds = [sum(by_seed)] if equal else by_seed
    freedoms = [sum(k) - len(arms)] if equal else [number - 1 for number in k]
    own = max(cases - residual, 0.0)
    likely = [
        s * f / float(stats.chi2.ppf(_VARIANCE_QUANTILE, f)) for s, f in zip(seeds, freedoms, strict=True)
    ]
    spread = cases**2 / (n - 1) + sum(s**2 / f for s, f in zip(likely, freedoms, strict=True))
    least = float(min(n - 1, *freedoms))
    freedom = max((own + sum(likely)) ** 2 / spread, least) if spread > 0 else least
    return own + sum(seeds), freedom


def _interaction(arm: FloatArray) -> FloatArray:
    """Return what seed and case do not explain additively, ``(seeds, cases)``."""
    return np.asarray(arm - arm.mean(axis=0) - arm.mean(axis=1, keepdims=True) + arm.mean())


def rank_biserial(differences: FloatArray) -> float:
    """Return the matched-pairs rank-biserial correlation: the share of rank sums in favour minus that against."""
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


@dataclass(frozen=True)
class Ranking:
    """Arms ranked on every case, 1 the best.

    Attributes:
        average: ``(arms,)`` mean ranks over cases.
        p: of Friedman's test that all arms rank alike.
        critical: two arms whose mean ranks differ by more differ at 5 % by Nemenyi's test, all pairs together.
        cases: how many had a value for every arm.
        reason: why there is no test; ``p`` and ``critical`` are NaN then.
    """

    average: FloatArray
    p: float
    critical: float
    cases: int
    reason: str = ""


def rank_arms(values: FloatArray, higher_is_better: bool) -> Ranking:
    """Rank arms over cases, with Friedman's test and Nemenyi's critical difference.

    Source: Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006); here cases stand in
    place of data sets, so that the target is these networks on new cases.

    Args:
        values: ``(cases, arms)``, means over seeds; cases with a NaN are left out.
        higher_is_better: the direction of the metric.
    """
    values = values[~np.isnan(values).any(axis=1)]
    cases, arms = values.shape
    ranks = stats.rankdata(-values if higher_is_better else values, axis=1)
    average = ranks.mean(axis=0) if cases else np.full(arms, np.nan)
    reason = _too_few(arms, 3, "arm") or _too_few(cases, LEAST_CASES_RETRAINING, "case")
    if not reason and np.ptp(values, axis=1).max() == 0:
        reason = "all arms have equal values on every case"
    if reason:
        return Ranking(average, float("nan"), float("nan"), cases, reason)
    critical = float(_nemenyi_quantile(arms) * np.sqrt(arms * (arms + 1) / (6 * cases)))
    return Ranking(average, float(stats.friedmanchisquare(*values.T).pvalue), critical, cases)


@cache
def _nemenyi_quantile(arms: int) -> float:
    return float(stats.studentized_range.ppf(1 - LEVEL, arms, np.inf) / np.sqrt(2))


def rank_stability(values: FloatArray, higher_is_better: bool, rng: np.random.Generator) -> FloatArray:
    """Return how often each arm takes each rank when cases are drawn anew, ``(arms, ranks)``, rows adding to 1.

    Source: Wiesenfarth et al., Methods and open-source toolkit for analyzing and visualizing challenge results,
    Scientific Reports 11 (2021). Arms are ranked by their mean over cases; ties share the better rank.

    Args:
        values: ``(cases, arms)`` without NaN, at least one case.
        higher_is_better: the direction of the metric.
        rng: of the bootstrap.
    """
    cases, arms = values.shape
    weights = rng.multinomial(cases, np.full(cases, 1 / cases), RESAMPLES) / cases
    means = np.round(weights @ values, 12)
    ranks = stats.rankdata(-means if higher_is_better else means, method="min", axis=1)
    return np.stack([(ranks == rank).mean(axis=0) for rank in range(1, arms + 1)], axis=1)
