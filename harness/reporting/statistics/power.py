"""What a design can find: the power of the test for retraining, the smallest difference that it detects, what it takes to find one.

The power is that of the very test in :mod:`harness.reporting.statistics.mean_variance`, when scores are normal: the estimate is
normal around the true difference, the mean squares are chi-squared about their expectations, and the test's interval is made from
them. The mean over the mean squares is taken over evenly spread points (Niederreiter, Random Number Generation and Quasi-Monte Carlo
Methods, 1992), so that no random number is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from harness.reporting.statistics.mean_variance import Components, FloatArray, MeanVariance, Part

WANTED = 0.8
"""The power that is asked for where nobody says another."""
LEVEL = 0.05
_POINTS = 256


def expected_variance(parts: Components, seeds: int, cases: int) -> MeanVariance:
    """Return what the variance of a mean over ``seeds`` and ``cases`` is estimated at on average.

    Args:
        parts: of single differences; what was estimated below 0 is taken as 0.
        seeds, cases: two of each at least.
    """
    seed, case, residual = (max(part, 0.0) for part in (parts.seed, parts.case, parts.residual))
    return MeanVariance(
        (Part((seed + residual / cases) / seeds, seeds - 1),),
        (Part((case + residual / seeds) / cases, cases - 1),),
        (residual / (seeds * cases),),
    )


def power(difference: float, variance: MeanVariance, level: float = LEVEL) -> float:
    """Return how often a test at a two-sided level finds a true difference.

    Args:
        difference: the true one, in the unit of the scores.
        variance: as it is on average, of :func:`expected_variance`.
        level: of the test.
    """
    return _found(variance, level)(difference)


def smallest_difference(variance: MeanVariance, level: float = LEVEL, wanted: float = WANTED) -> float:
    """Return the smallest true difference that the test finds with the power ``wanted``; NaN where nothing varies.

    Args:
        variance: as it is on average; where it is the estimate of data at hand, the answer is as uncertain as that.
        level: of the test, two-sided.
        wanted: the power, above ``level`` and below 1.
    """
    if not variance.variance > 0:
        return math.nan
    found, end = _found(variance, level), 4 * math.sqrt(variance.variance)
    while found(end) < wanted:
        end *= 2
    return float(optimize.brentq(lambda difference: found(difference) - wanted, 0, end, rtol=1e-4))


def fewest_needed(
    variance_of: Callable[[int], MeanVariance], difference: float, least: int, most: int, level: float = LEVEL, wanted: float = WANTED
) -> int | None:  # fmt: skip
    """Return the fewest seeds, or cases, that find a true difference with the power ``wanted``; None where ``most`` do not.

    Args:
        variance_of: returns the variance of the mean over so many; it falls with their number.
        difference: the true one, in the unit of the scores.
        least, most: numbers to choose from.
        level: of the test, two-sided.
        wanted: the power.
    """

    def suffices(number: int) -> bool:
        return power(difference, variance_of(number), level) >= wanted

    if not suffices(most):
        return None
    low, high = least - 1, most  # by bisection: what suffices once does so from there on
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _found(variance: MeanVariance, level: float) -> Callable[[float], float]:
    """Return the power as a function of the true difference."""
    number = len(variance.seeds) + len(variance.cases)
    scaled = [
        Part(part.variance * _mean_squares(part.freedom, place, number), part.freedom)
        for place, part in enumerate((*variance.seeds, *variance.cases))
    ]
    split = len(variance.seeds)
    drawn = MeanVariance(tuple(scaled[:split]), tuple(scaled[split:]), variance.residuals)
    half, error = drawn.half_width(level), math.sqrt(variance.variance)

    def found(difference: float) -> float:
        either = special.ndtr((difference - half) / error) + special.ndtr((-difference - half) / error)
        return float(either.mean())

    return found


@lru_cache(maxsize=512)
def _mean_squares(freedom: int, place: int, number: int) -> FloatArray:
    """Return evenly spread values of a mean square with expectation 1: dimension ``place`` of ``number``.

    The points are multiples of powers of the root of ``x^(number + 1) = x + 1``, the golden ratio for one dimension.
    """
    root = 1.5
    for _ in range(60):
        root = (1 + root) ** (1 / (number + 1))
    uniform = (0.5 + np.arange(1, _POINTS + 1) * root ** -(place + 1)) % 1
    return np.asarray(2 * special.gammaincinv(freedom / 2, uniform) / freedom)
