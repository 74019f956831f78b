"""One difference on several datasets: how much they disagree, and their mean where datasets are drawn anew too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from harness.reporting.statistics.mean_variance import FloatArray, MeanVariance, Part

LEAST_DATASETS = 5
"""Fewest datasets that a variance between them is estimated from."""


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
    q, freedom = _spread(np.asarray(estimates), np.asarray(variances), 0.0), len(estimates) - 1
    return Heterogeneity(q, float(stats.chi2.sf(q, freedom)), max(0.0, 1 - freedom / q) if q > 0 else 0.0)


def random_effects(estimates: Sequence[float], variances: Sequence[float]) -> tuple[float, MeanVariance]:
    """Return the mean difference over all datasets of such a kind, and its variance.

    The variance between datasets is Paule and Mandel's (Journal of Research of the National Bureau of Standards 87, 1982), that of
    the mean Hartung and Knapp's (Statistics in Medicine 20, 2001): Student's t with one degree of freedom less than datasets.

    Args:
        estimates: the difference on each dataset, :data:`LEAST_DATASETS` or more.
        variances: of each estimate, above 0.
    """
    values, errors = np.asarray(estimates, float), np.asarray(variances, float)
    freedom = len(values) - 1
    between = 0.0
    if _spread(values, errors, 0.0) > freedom:
        most = float(np.ptp(values)) ** 2 * len(values)
        between = float(optimize.brentq(lambda tau: _spread(values, errors, tau) - freedom, 0.0, most))
    weights = 1 / (errors + between)
    variance = _spread(values, errors, between) / freedom / weights.sum()
    return float(np.average(values, weights=weights)), MeanVariance((Part(variance, freedom),), (), ())


def _spread(values: FloatArray, errors: FloatArray, between: float) -> float:
    """Return the weighted sum of squares about the weighted mean."""
    weights = 1 / (errors + between)
    return float((weights * (values - np.average(values, weights=weights)) ** 2).sum())
