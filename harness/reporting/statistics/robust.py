"""Summaries that a few bad cases do not carry: interquartile mean, probability of improvement, performance profile.

Source: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021 (rliable); test cases stand
in place of tasks. Its intervals resample runs, of which three are too few. Here each summary is linearised: the mean of a table of
seeds and cases that moves as the summary does, whose variance is that of
:mod:`harness.reporting.statistics.mean_variance`. All intervals are for new seeds and new cases; NaN where nothing varies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from harness.reporting.statistics.mean_variance import FloatArray, two_way

_CUT = 0.25


@dataclass(frozen=True)
class Estimate:
    """A summary with its 95 % interval; numbers, or arrays of them where many tables were given."""

    value: Any
    low: Any
    high: Any


def interquartile_mean(table: FloatArray) -> Estimate:
    """Return the mean of the middle half of all scores.

    It moves as the mean of scores that are drawn in to the quartiles does (Tukey and McLaughlin, Sankhya A 25, 1963).

    Args:
        table: ``(..., seeds, cases)`` without NaN.
    """
    flat = table.reshape(*table.shape[:-2], -1)
    number = flat.shape[-1]
    cut = int(_CUT * number)
    ordered = np.sort(flat, axis=-1)
    ends = (ordered[..., cut, None, None], ordered[..., number - cut - 1, None, None])
    drawn_in = np.clip(table, *ends) / (1 - 2 * cut / number)
    return _around(stats.trim_mean(flat, _CUT, axis=-1), two_way(drawn_in).half_width())


def probability_of_improvement(first: FloatArray, second: FloatArray, paired: bool) -> Estimate:
    """Return how likely a network of the first arm has the higher score on a case than one of the second; ties count half.

    The mean over cases of Mann and Whitney's statistic. Each seed's own share in it moves as the statistic does (Hoeffding, Annals of
    Mathematical Statistics 19, 1948).

    Args:
        first, second: ``(..., seeds, cases)`` without NaN, the same cases.
        paired: whether the rows of both are the same seeds.
    """
    one, other = first[..., :, None, :], second[..., None, :, :]
    wins = (one > other) + 0.5 * (one == other)
    of_first, of_second = wins.mean(axis=-2), wins.mean(axis=-3)
    of_second = of_second - wins.mean(axis=(-3, -2))[..., None, :]  # cases count once, in the first
    groups = (of_first + of_second,) if paired else (of_first, of_second)
    return _around(wins.mean(axis=(-3, -2, -1)), two_way(*groups).half_width(), (0.0, 1.0))


def performance_profile(table: FloatArray, levels: FloatArray) -> Estimate:
    """Return the share of scores above each level.

    Args:
        table: ``(seeds, cases)`` without NaN.
        levels: ``(levels,)`` in the unit of the scores.
    """
    above = (table > levels[:, None, None]).astype(np.float64)
    return _around(above.mean(axis=(-2, -1)), two_way(above).half_width(), (0.0, 1.0))


def _around(value: Any, half: Any, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Estimate:
    """Return a value with its interval, within bounds; where nothing varied there is none, since what was not seen may vary."""
    half = np.where(half > 0, half, np.nan)
    return Estimate(value, np.maximum(value - half, bounds[0]), np.minimum(value + half, bounds[1]))
