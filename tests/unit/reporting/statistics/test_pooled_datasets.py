"""Differences on several datasets against worked examples and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.reporting.statistics.datasets import between_datasets, heterogeneity, mean_of_datasets

# Log odds ratios and variances of the seven magnesium trials before 1991 (Sterne, Bradburn and Egger 2001).
EFFECTS = [-0.83, -1.056, -1.278, -0.043, 0.2231, -2.4075, -1.2809]
VARIANCES = [1.5537, 0.1714, 0.6493, 2.0473, 0.2392, 1.1491, 1.4227]


def test_heterogeneity_by_hand() -> None:
    weights = [1 / one for one in VARIANCES]
    mean = sum(w * y for w, y in zip(weights, EFFECTS, strict=True)) / sum(weights)
    q = sum(w * (y - mean) ** 2 for w, y in zip(weights, EFFECTS, strict=True))
    found = heterogeneity(EFFECTS, VARIANCES)
    assert found.q == pytest.approx(q) and found.p == pytest.approx(stats.chi2.sf(q, 6))
    assert found.i_squared == pytest.approx(max(0, 1 - 6 / q))
    assert heterogeneity([1.0, 1.0], [1.0, 2.0]).i_squared == 0


def test_the_mean_over_datasets_is_students_test_of_their_differences() -> None:
    values = [0.3, -0.1, 0.8, 0.5, 0.2, 0.6]
    mean, variance = mean_of_datasets(values)
    expected = stats.ttest_1samp(values, 0)
    assert mean == pytest.approx(np.mean(values))
    assert variance.p(mean) == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert mean + float(variance.half_width()) == pytest.approx(interval.high)


def test_what_is_between_datasets_is_what_their_errors_leave() -> None:
    assert between_datasets([1.0, 2.0, 3.0], [0.2, 0.3, 0.4]) == pytest.approx(1 - 0.3)
    assert between_datasets([1.0, 1.1, 0.9], [0.2, 0.3, 0.4]) == 0


@pytest.mark.parametrize("between", [0.0, 1.0])
def test_intervals_cover_the_mean_over_datasets_nineteen_times_of_twenty(between: float) -> None:
    """Errors that differ by a factor of nine are no reason for an interval that is too short."""
    rng, covered, repeats = np.random.default_rng(1), 0, 4000
    errors = np.array([0.2, 0.5, 0.6, 1.0, 1.8, 0.8])
    for _ in range(repeats):
        mean, variance = mean_of_datasets(rng.normal(0, np.sqrt(errors + between)).tolist())
        covered += abs(mean) <= float(variance.half_width())
    assert 0.943 <= covered / repeats <= 0.97
