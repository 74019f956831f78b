"""One difference on several datasets: how much they disagree, and their mean where datasets are drawn anew too.

Datasets weigh the same, whatever their errors: of three seeds an error is hardly known, and weights made from it find up to twice
too many differences (``tests/benchmarks/statistics_simulation.py --only datasets``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.reporting.statistics.mean_variance import FloatArray, MeanVariance, Part

LEAST_DATASETS = 5
"""Fewest datasets that others are told of: fewer are fixed."""


@dataclass(frozen=True)
class Heterogeneity:
    """How much the datasets' differences vary beyond their own errors.

    Attributes:
        q: Cochran's statistic, and ``p`` of it.
        i_squared: the share of the variance that is between datasets, 0 to 1.
    """

    q: float
    p: float
    i_squared: float


def heterogeneity(estimates: Sequence[float], variances: Sequence[float]) -> Heterogeneity:
    """Return Cochran's Q and I² (Higgins and Thompson, Statistics in Medicine 21, 2002) of two datasets or more.

    Args:
        estimates: the difference on each dataset.
        variances: of each estimate, above 0.
    """
    q, freedom = _spread(np.asarray(estimates), np.asarray(variances)), len(estimates) - 1
    return Heterogeneity(q, float(stats.chi2.sf(q, freedom)), max(0.0, 1 - freedom / q) if q > 0 else 0.0)


def mean_of_datasets(estimates: Sequence[float]) -> tuple[float, MeanVariance]:
    """Return the mean difference over all datasets of such a kind, and its variance.

    The t test of the datasets' differences, with one degree of freedom less than datasets. It needs no errors of theirs, and at
    5 % it finds no more than 5 % where these are unequal (Ibragimov and Müller, Journal of Business and Economic Statistics 28,
    2010).

    Args:
        estimates: the difference on each dataset, :data:`LEAST_DATASETS` or more.
    """
    number = len(estimates)
    part = Part(float(np.var(estimates, ddof=1)) / number, number - 1)
    return float(np.mean(estimates)), MeanVariance((part,), (), ())


def between_datasets(estimates: Sequence[float], variances: Sequence[float]) -> float:
    """Return the variance of the true difference between datasets, 0 or more: what their own errors leave of theirs.

    Args:
        estimates: the difference on each dataset.
        variances: of each estimate.
    """
    return max(0.0, float(np.var(estimates, ddof=1)) - float(np.mean(variances)))


def _spread(values: FloatArray, errors: FloatArray) -> float:
    """Return the weighted sum of squares about the weighted mean."""
    weights = 1 / errors
    return float((weights * (values - np.average(values, weights=weights)) ** 2).sum())
