"""The variance of a mean over seeds and cases, and Student's test with it: the arithmetic of every test for retraining.

Scores of networks on cases are crossed: ``score = mean + seed + case + seed x case``, all random. The variance of their
mean is then ``seed / k + case / n + residual / (k n)``, and each part is estimated by a mean square of a two-way table
(Searle, Casella and McCulloch, Variance Components, 1992, chapter 4). Means of independent groups of seeds on the same
cases, and of independent sets of cases, add up.

Student's degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946), for which the parts of the few seeds are
taken at an upper confidence limit: where one is small by chance, it would give too many. How high a limit is needed depends on the
level that is tested at; the rule is :func:`seed_quantile`, and ``tests/benchmarks/statistics_simulation.py`` holds it to
its promise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

FloatArray = NDArray[np.float64]
_LEVEL = 0.05  # up to which the quantile falls with the level
_QUANTILE, _EXPONENT = 0.3, 0.6
_LEAST_LEVEL, _SMALLEST = 1e-12, 1e-300  # below which the quantile stays as it is, and no p falls


@dataclass(frozen=True)
class Components:
    """Variances of single scores, or of single differences, in a crossed table; an estimate can be below 0.

    Attributes:
        seed: what a seed adds to all cases.
        case: what a case adds for all seeds.
        residual: what is left of one network on one case.
    """

    seed: float
    case: float
    residual: float


@dataclass(frozen=True)
class Part:
    """One estimate that a variance is the sum of, with its degrees of freedom; ``variance`` may be an array of them."""

    variance: Any
    freedom: int


@dataclass(frozen=True)
class MeanVariance:
    """The estimated variance of a mean over seeds and cases.

    Attributes:
        seeds: of the seeds' means, for each group of seeds.
        cases: of the cases' means, for each set of cases.
        residuals: how much of that is due to the seeds at hand, for each set of cases.
    """

    seeds: tuple[Part, ...]
    cases: tuple[Part, ...]
    residuals: tuple[Any, ...]

    @property
    def _own(self) -> Any:
        """What cases add that the seeds' means do not hold already."""
        pairs = zip(self.cases, self.residuals, strict=True)
        return sum(np.maximum(part.variance - residual, 0.0) for part, residual in pairs)

    @property
    def variance(self) -> Any:
        """The variance of the mean."""
        return self._own + sum(part.variance for part in self.seeds)

    def freedom(self, level: float = _LEVEL) -> Any:
        """Return Student's degrees of freedom for a test at a two-sided level; they do not rise where it falls."""
        usual = self._freedom(seed_quantile(_LEVEL))
        return usual if level >= _LEVEL else np.minimum(usual, self._freedom(seed_quantile(level)))

    def _freedom(self, quantile: float) -> Any:
        likely = [
            Part(part.variance * _inflation(part.freedom, quantile), part.freedom) for part in self.seeds
        ]
        spread = sum(part.variance**2 / part.freedom for part in chain(self.cases, likely))
        least = min(part.freedom for part in chain(self.cases, self.seeds))
        total = (self._own + sum(part.variance for part in likely)) ** 2
        return np.maximum(np.divide(total, spread, out=np.zeros(np.shape(total)), where=spread > 0), least)

    def half_width(self, level: float = _LEVEL) -> Any:
        """Return half the length of the interval with coverage ``1 - level``."""
        return special.stdtrit(self.freedom(level), 1 - level / 2) * np.sqrt(self.variance)

    def p(self, estimate: float) -> float:
        """Return the two-sided p of a mean of zero: the level at which ``estimate`` is just critical; NaN without variance."""
        if not self.variance > 0:
            return math.nan
        statistic = abs(estimate) / math.sqrt(self.variance)

        def beyond(level: float) -> float:
            return max(2 * float(special.stdtr(self.freedom(level), -statistic)), _SMALLEST)

        least = beyond(_LEVEL)
        if least >= _LEVEL or beyond(least) <= least:
            return least
        # a lower level has no more degrees of freedom, hence no smaller a p: the two meet once
        ends = math.log(least), math.log(_LEVEL)
        return math.exp(float(optimize.brentq(lambda x: math.log(beyond(math.exp(x))) - x, *ends, xtol=1e-9)))


def seed_quantile(level: float) -> float:
    """Return the share of samples in which a variance between seeds may be larger than its upper confidence limit.

    0.3 at a level of 5 % and above. Far out in the tails many false positives come from seeds that agree by chance, so
    that the share falls with the level: with 0.3 throughout three seeds would find five times too many at 0.05 / 32.
    """
    return _QUANTILE * (min(max(level, _LEAST_LEVEL), _LEVEL) / _LEVEL) ** _EXPONENT


@lru_cache(maxsize=4096)
def _inflation(freedom: int, quantile: float) -> float:
    """Return the upper confidence limit of a variance, in estimates."""
    return freedom / (2 * float(special.gammaincinv(freedom / 2, quantile)))


def two_way(*groups: FloatArray) -> MeanVariance:
    """Return the variance of the sum of the groups' means.

    Args:
        groups: ``(..., seeds, cases)`` each, without NaN: at least two seeds and two cases, and any number of such tables at
            once. Rows are seeds of that group alone, columns the same cases in all groups. Differences of paired seeds are
            one group; the scores of one arm and the negative ones of another with other seeds are two, whose variances may
            differ (Welch, Biometrika 34, 1947).
    """
    n = groups[0].shape[-1]
    sizes = [group.shape[-2] for group in groups]
    seeds = tuple(
        Part(group.mean(axis=-1).var(axis=-1, ddof=1) / k, k - 1)
        for group, k in zip(groups, sizes, strict=True)
    )
    means = sum(group.mean(axis=-2) for group in groups)
    residual = sum(_residual(group) / (k * n) for group, k in zip(groups, sizes, strict=True))
    return MeanVariance(seeds, (Part(np.var(means, axis=-1, ddof=1) / n, n - 1),), (residual,))


def together(variances: Sequence[MeanVariance]) -> MeanVariance:
    """Return the variance of the sum of means that have neither seeds nor cases in common."""
    return MeanVariance(
        tuple(chain.from_iterable(one.seeds for one in variances)),
        tuple(chain.from_iterable(one.cases for one in variances)),
        tuple(chain.from_iterable(one.residuals for one in variances)),
    )


def components(table: FloatArray) -> Components:
    """Return the analysis of variance's estimates for a table ``(seeds, cases)`` without NaN, two of each at least."""
    k, n = table.shape
    residual = float(_residual(table))
    return Components(
        float(table.mean(axis=1).var(ddof=1)) - residual / n,
        float(table.mean(axis=0).var(ddof=1)) - residual / k,
        residual,
    )


def _residual(table: FloatArray) -> Any:
    """Return the mean square of what seed and case do not explain additively."""
    k, n = table.shape[-2:]
    by_case, by_seed = table.mean(axis=-2, keepdims=True), table.mean(axis=-1, keepdims=True)
    left = table - by_case - by_seed + by_case.mean(axis=-1, keepdims=True)
    return (left**2).sum(axis=(-2, -1)) / ((k - 1) * (n - 1))
