"""Experiments without a difference, or with a known one, for ``statistics_simulation.py``: many repeats at once.

Every function returns ``(groups, truth)``: the tables ``(repeats, seeds, cases)`` whose means' sum is tested (one table of
differences where seeds are paired, two of arms with seeds of their own), and what that sum truly is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

Drawn = tuple[tuple[np.ndarray, ...], float]
CASE_SD, BY_CASE_SD, SEED_SD = 2.0, 0.5, 0.5  # in residual standard deviations


@dataclass(frozen=True)
class Size:
    """How large an experiment is: ``repeats`` at once, of ``seeds`` and ``cases``."""

    repeats: int
    seeds: int
    cases: int

    def normal(self, rng: np.random.Generator, sd: float, by_seed: bool, by_case: bool) -> np.ndarray:
        """Return one normal effect for each seed, each case, or each of both."""
        return rng.normal(0, sd, (self.repeats, self.seeds if by_seed else 1, self.cases if by_case else 1))


def arms(
    rng: np.random.Generator, size: Size, number: int = 2, by_case: float = BY_CASE_SD, seed: Sequence[float] = (SEED_SD,)
) -> list[np.ndarray]:  # fmt: skip
    """Return the scores of arms that do not differ: case + arm x case + seed within arm + residual, all normal."""
    case = size.normal(rng, CASE_SD, False, True)
    return [
        case
        + size.normal(rng, by_case, False, True)
        + size.normal(rng, seed[i % len(seed)], True, False)
        + size.normal(rng, 1, True, True)
        for i in range(number)
    ]


def paired(rng: np.random.Generator, size: Size, **options: Any) -> Drawn:
    """Arms of the same seeds."""
    first, second = arms(rng, size, **options)
    return (first - second,), 0.0


def unpaired(rng: np.random.Generator, size: Size, **options: Any) -> Drawn:
    """Arms with seeds of their own."""
    first, second = arms(rng, size, **options)
    return (first, -second), 0.0


def one_mean(rng: np.random.Generator, size: Size, **options: Any) -> Drawn:
    """The mean of one arm alone."""
    return (arms(rng, size, 1, **options)[0],), 0.0


def correlated_seeds(rng: np.random.Generator, size: Size, share: float = 0.9) -> Drawn:
    """Seeds whose effect on both arms has a correlation of ``share``."""
    first, second = arms(rng, size, seed=(0,))
    common = size.normal(rng, np.sqrt(share) * 2, True, False)
    own = [size.normal(rng, np.sqrt(1 - share) * 2, True, False) for _ in range(2)]
    return ((first + common + own[0]) - (second + common + own[1]),), 0.0


def patients(rng: np.random.Generator, size: Size, correlation: float = 0.6, averaged: bool = True) -> Drawn:
    """Two cases of each patient; what cases add, also to one arm alone, is correlated within patients.

    ``size.cases`` are patients. ``averaged``: a patient's cases are averaged first, as the report does.
    """
    both = Size(size.repeats, size.seeds, 2 * size.cases)

    def of_cases(sd: float) -> np.ndarray:
        shared = np.repeat(size.normal(rng, sd * np.sqrt(correlation), False, True), 2, axis=-1)
        return shared + both.normal(rng, sd * np.sqrt(1 - correlation), False, True)

    case = of_cases(CASE_SD)
    first, second = (
        case + of_cases(1) + both.normal(rng, 0.3, True, False) + both.normal(rng, 0.5, True, True)
        for _ in range(2)
    )
    difference = first - second
    if averaged:
        difference = difference.reshape(size.repeats, size.seeds, size.cases, 2).mean(axis=-1)
    return (difference,), 0.0


def dice(rng: np.random.Generator, size: Size, missed: tuple[float, float] = (0.03, 0.03)) -> Drawn:
    """Dice near its upper end, so skewed, with a share of regions that a network misses altogether: 0."""
    case = size.normal(rng, 0.8, False, True)
    logits = [
        2.0
        + case
        + size.normal(rng, 0.3, False, True)
        + size.normal(rng, 0.2, True, False)
        + size.normal(rng, 0.3, True, True)
        for _ in missed
    ]
    hit = [rng.random(one.shape) >= share for one, share in zip(logits, missed, strict=True)]
    values = [np.where(found, expit(one), 0.0) for found, one in zip(hit, logits, strict=True)]
    return (values[0] - values[1],), (missed[1] - missed[0]) * _MEAN_DICE


_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
_MEAN_DICE = float(
    _WEIGHTS @ expit(2.0 + np.sqrt(0.8**2 + 0.3**2 + 0.2**2 + 0.3**2) * _POINTS) / _WEIGHTS.sum()
)


def skewed(rng: np.random.Generator, size: Size) -> Drawn:
    """One arm does much worse on a few cases, and a little better on the rest."""
    first, second = arms(rng, size, by_case=0)
    return (first + 1 - rng.exponential(1, (size.repeats, 1, size.cases)) - second,), 0.0


def collapsed(rng: np.random.Generator, size: Size, shares: tuple[float, float] = (0.1, 0.1)) -> Drawn:
    """Each arm loses a share of its seeds: they end far below the others."""
    first, second = (
        one - 10 * (rng.random((size.repeats, size.seeds, 1)) < share)
        for one, share in zip(arms(rng, size), shares, strict=True)
    )
    return (first - second,), 10 * (shares[1] - shares[0])


def folds(rng: np.random.Generator, size: Size, number: int = 5) -> Drawn:
    """A cross-validation: a seed is ``number`` networks, each of which tests a part of the cases."""
    fold = np.arange(size.cases) % number
    first, second = arms(rng, size, seed=(0,))
    networks = [rng.normal(0, 1, (size.repeats, size.seeds, number))[:, :, fold] for _ in range(2)]
    return (first + networks[0] - second - networks[1],), 0.0


def weighed(rng: np.random.Generator, size: Size, weights: Sequence[float], shared: float = 0.5) -> Drawn:
    """A contrast of the differences of two arms at several levels of a factor.

    A case's share in the difference is correlated between levels by ``shared``, and every level has other seed and case variances.
    """
    common = size.normal(rng, np.sqrt(shared), False, True)
    total = np.zeros((size.repeats, size.seeds, size.cases))
    for level, weight in enumerate(weights):
        scale = 1.0 / (1 + level)
        own = size.normal(rng, np.sqrt(1 - shared), False, True)
        (difference,), _ = paired(rng, size, by_case=0, seed=(SEED_SD * scale,))
        total += weight * (difference + scale * (common + own))
    return (total,), 0.0


def datasets(
    rng: np.random.Generator,
    size: Size,
    number: int,
    between: float,
    patients: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> list[tuple[np.ndarray, ...]]:
    """Return the differences of two arms on each of several datasets, tables ``(repeats, seeds, patients)``; their mean is truly 0.

    Args:
        rng: of all draws.
        size: repeats of each; ``seeds`` and ``cases`` of each, unless ``seeds`` and ``patients`` say otherwise.
        number: of datasets.
        between: standard deviation of the true difference between datasets.
        patients, seeds: of the datasets, in turn.
    """
    tables = []
    for place in range(number):
        own = Size(
            size.repeats,
            seeds[place % len(seeds)] if seeds else size.seeds,
            patients[place % len(patients)] if patients else size.cases,
        )
        (table,), _ = paired(rng, own)
        tables.append((table + rng.normal(0, between, (size.repeats, 1, 1)),))
    return tables
