"""Do the tests and intervals of the report keep what they promise? A seeded simulation.

``score = case + arm x case + seed within arm + residual``, normal, of two arms (four for Friedman and Nemenyi) that do
not differ; and the same with what paired seeds share. For each number of cases and seeds and each standard deviation of arm x case and of seeds (in residual
standard deviations): the rate of p < 0.05, and the coverage of the 95 % interval, each for the target that the
procedure declares. For "these networks" what the trained networks truly differ by is known, and is the truth that they
are held against.

Run: ``python tests/benchmarks/statistics_simulation.py [--repeats 5000]``. A line ends in ``ok`` where the rate is
within [0.03, 0.06] and the coverage within [0.93, 0.97], in ``refused`` where the report gives no verdict for so few.
The exit status is 1 where a verdict that the report gives is off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import product

import numpy as np

from harness.reporting.statistics.significance import (
    LEVEL,
    mean_interval,
    new_cases_test,
    rank_arms,
    retraining_test,
)

SIZES = ((7, 3), (12, 2), (12, 3), (12, 5), (50, 3), (50, 5))  # cases, seeds
ARM_BY_CASE_SDS, SEED_SDS = (0.0, 1.0), (0.0, 0.5, 1.0)  # in residual standard deviations
CASE_SD = 2.0
RATE, COVERAGE = (0.03, 0.06), (0.93, 0.97)
RETRAINING, RETRAINED_MEAN = "retraining: two-way model, t", "retraining: mean of one arm, t"
PAIRED = "retraining: paired seeds, t"
DRAW_SD = 2.0  # of what the arms of a paired seed share


def scores(
    rng: np.random.Generator, arms: int, seeds: int, cases: int, seed_sd: float, by_case_sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores ``(arms, seeds, cases)`` and the true means of the arms' networks ``(arms,)``."""
    seed = rng.normal(0, 1, (arms, seeds, 1)) * seed_sd
    values = (
        rng.normal(0, CASE_SD, cases)
        + rng.normal(0, by_case_sd, (arms, 1, cases))
        + seed
        + rng.normal(0, 1, (arms, seeds, cases))
    )
    return values, seed.mean(axis=(1, 2))


def two_arms(rng: np.random.Generator, n: int, k: int, sd: float, by_case: float) -> Iterator[tuple]:
    """Yield procedure, whether p < 0.05, whether the interval covers the truth (None where there is none)."""
    values, truth = scores(rng, 2, k, n, sd, by_case)
    networks = truth[0] - truth[1]
    differences = values[0].mean(axis=0) - values[1].mean(axis=0)
    null = new_cases_test(differences - networks, rng)
    yield "these networks: signed rank, bootstrap-t", null.p < LEVEL, null.low <= 0 <= null.high
    again = retraining_test(values[0], values[1])
    if not again.reason:
        yield RETRAINING, again.p < LEVEL, again.low <= 0 <= again.high
        mean = mean_interval(values[0])
        yield RETRAINED_MEAN, None, mean.low <= 0 <= mean.high
        drawn = values + rng.normal(0, DRAW_SD, (k, 1))
        paired = retraining_test(drawn[0], drawn[1], paired=True)
        yield PAIRED, paired.p < LEVEL, paired.low <= 0 <= paired.high


def four_arms(rng: np.random.Generator, n: int, k: int, sd: float, by_case: float) -> Iterator[tuple]:
    """Yield the same for rankings; Nemenyi's rate is that of any false pair among the six."""
    values, truth = scores(rng, 4, k, n, sd, by_case)
    ranking = rank_arms((values.mean(axis=1) - truth[:, None]).T, higher_is_better=True)
    if not ranking.reason:
        yield "these networks: Friedman, 4 arms", ranking.p < LEVEL, None
        yield "these networks: Nemenyi, any of 6 pairs", np.ptp(ranking.average) > ranking.critical, None


def share(found: list) -> float:
    """Return how many are true, NaN of none."""
    return float(np.mean(found)) if found else float("nan")


def within(value: float, bounds: tuple[float, float]) -> bool:
    """Return whether a rate lies within bounds; what a procedure does not give cannot be off."""
    return bool(np.isnan(value)) or bounds[0] <= value <= bounds[1]


def main() -> int:
    """Print the table and return 1 where a verdict is off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5000)
    repeats = parser.parse_args().repeats
    print(f"{repeats} repeats; case sd {CASE_SD}, residual sd 1")
    print(f"{'procedure':40s} cases seeds arm-x-case-sd seed-sd   rate coverage")
    off = 0
    for by_case, (n, k), sd in product(ARM_BY_CASE_SDS, SIZES, SEED_SDS):
        rng = np.random.default_rng([n, k, int(10 * sd), int(10 * by_case)])
        found: dict[str, list[tuple]] = {RETRAINING: [], RETRAINED_MEAN: [], PAIRED: []}
        for _ in range(repeats):
            for source in (two_arms, four_arms):
                for name, positive, covered in source(rng, n, k, sd, by_case):
                    found.setdefault(name, []).append((positive, covered))
        for name, rows in found.items():
            off += not report(f"{name:40s} {n:5d} {k:5d} {by_case:13.1f} {sd:7.1f}", rows)
    print("all within bounds" if not off else f"{off} out of bounds")
    return int(off > 0)


def report(head: str, rows: list[tuple]) -> bool:
    """Print one line and return whether it is within bounds."""
    if not rows:
        print(f"{head}  refused: no star and no interval")
        return True
    rate, coverage = (share([row[i] for row in rows if row[i] is not None]) for i in (0, 1))
    good = within(rate, RATE) and within(coverage, COVERAGE)
    print(f"{head} {rate:6.3f} {coverage:8.3f} {'ok' if good else 'OUT'}", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
