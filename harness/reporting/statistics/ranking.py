"""Arms in order: ranks over cases, by the mean, and by what tests tell apart; and how firm an order is. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from harness.data.part_counts import FEWEST_TESTED_RETRAINING
from harness.reporting.statistics.mean_variance import FloatArray

LEVEL = 0.05
RESAMPLES = 2000
_DECIMALS = 9  # differences beyond are of the order in which seeds are added up, and would break ties


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
    values = np.round(values[~np.isnan(values).any(axis=1)], _DECIMALS)
    cases, arms = values.shape
    average = ranks(values, higher_is_better, "average").mean(axis=0) if cases else np.full(arms, np.nan)
    reason = ""
    if arms < 3:
        reason = f"{arms} arms, 3 needed"
    elif cases < FEWEST_TESTED_RETRAINING:
        reason = f"{cases} case{'' if cases == 1 else 's'}, {FEWEST_TESTED_RETRAINING} needed"
    elif np.ptp(values, axis=1).max() == 0:
        reason = "all arms have equal values on every case"
    if reason:
        return Ranking(average, float("nan"), float("nan"), cases, reason)
    critical = float(_nemenyi_quantile(arms) * np.sqrt(arms * (arms + 1) / (6 * cases)))
    return Ranking(average, float(stats.friedmanchisquare(*values.T).pvalue), critical, cases)


@cache
def _nemenyi_quantile(arms: int) -> float:
    return float(stats.studentized_range.ppf(1 - LEVEL, arms, np.inf) / np.sqrt(2))


def ranks(means: FloatArray, higher_is_better: bool, ties: str = "min") -> FloatArray:
    """Return the ranks of the last axis, 1 the best; ties share the better one, or the ``average``."""
    rounded = np.round(means, _DECIMALS)
    return np.asarray(stats.rankdata(-rounded if higher_is_better else rounded, method=ties, axis=-1), float)


def drawn_ranks(
    arms: Sequence[FloatArray], shared: bool, higher_is_better: bool, rng: np.random.Generator
) -> FloatArray:
    """Return the ranks of the arms' means when seeds and cases are drawn anew, ``(draws, arms)``.

    Source: Wiesenfarth et al., Scientific Reports 11 (2021), for cases. Seeds and cases are drawn each by itself (Owen, The
    pigeonhole bootstrap, Annals of Applied Statistics 1, 2007). Of k seeds k - 1 are drawn: k would show only a share
    (k - 1) / k of their variance, two thirds for three seeds (Rao and Wu, JASA 83, 1988). One seed alone stays as it is.

    Args:
        arms: ``(seeds, cases)`` of each arm, without NaN, the same cases; at least one of each.
        shared: whether all arms have the same seeds, whose draws they then share.
        higher_is_better: the direction of the metric.
        rng: of the draws.
    """
    cases = _weights(rng, arms[0].shape[1], arms[0].shape[1])
    seeds = _weights(rng, len(arms[0]), max(1, len(arms[0]) - 1)) if shared else None
    means = []
    for arm in arms:
        own = _weights(rng, len(arm), max(1, len(arm) - 1)) if seeds is None else seeds
        means.append(((own @ arm) * cases).sum(axis=1))
    return ranks(np.stack(means, axis=1), higher_is_better)


def _weights(rng: np.random.Generator, number: int, drawn: int) -> FloatArray:
    """Return how much each of ``number`` weighs in each of the draws ``(draws, number)``."""
    return rng.multinomial(drawn, np.full(number, 1 / number), RESAMPLES) / drawn


def rank_frequencies(drawn: FloatArray) -> FloatArray:
    """Return how often each arm takes each rank, ``(arms, ranks)``, from :func:`drawn_ranks`; rows add to 1."""
    return np.stack([(drawn == rank).mean(axis=0) for rank in range(1, drawn.shape[1] + 1)], axis=1)


def ranks_by_test(better: FloatArray) -> FloatArray:
    """Return the ranks of arms by how many others each beats, ties sharing the better one.

    Source: Wiesenfarth et al., Scientific Reports 11 (2021): significance ranking.

    Args:
        better: ``(arms, arms)`` truth values: whether the arm of the row beats that of the column.
    """
    return ranks(better.sum(axis=1).astype(float), higher_is_better=True)


def kendall_tau(first: FloatArray, second: FloatArray) -> float:
    """Return Kendall's tau-b of two rankings, 1 for the same order; NaN where one has only ties."""
    return float(stats.kendalltau(first, second).statistic)
