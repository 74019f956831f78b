"""How far the tests of the report hold for cross-validation, where the folds of a seed are pooled. A seeded simulation.

``score = case + arm x case + network (seed x fold) + training set (arm x fold) + residual``, normal, of two arms that do not
differ. The networks of a fold are trained on one set of cases by all seeds, so what the set does to an arm never averages out over
seeds, and cases of a fold have it in common. The test for retraining is of new seeds and cases with these folds, where there is no such
effect; with it the test finds too much. Printed are the rate of p < 0.05 and the coverage of the 95 % interval, by the effect's standard
deviation as a share of that of networks.

Run: ``python tests/benchmarks/fold_statistics.py [--repeats 10000]``. The exit status is 1 where the rate without such an effect is
outside of [0.03, 0.06].
"""

from __future__ import annotations

import argparse
import sys
from itertools import product

import numpy as np

from harness.reporting.statistics.mean_variance import two_way

FOLDS, SEEDS, CASES = 5, (3, 5), (20, 50)
SHARES = (0.0, 0.2, 0.4, 1.0)
CASE_SD, ARM_BY_CASE_SD, NETWORK_SD, RESIDUAL_SD = 1.0, 0.3, 0.5, 0.5


def differences(rng: np.random.Generator, repeats: int, seeds: int, cases: int, share: float) -> np.ndarray:
    """Return pooled differences of paired seeds ``(repeats, seeds, cases)``; case ``c`` is tested in fold ``c % FOLDS``."""
    fold = np.arange(cases) % FOLDS
    sets = rng.normal(0, share * NETWORK_SD, (repeats, 2, 1, FOLDS))
    networks = rng.normal(0, NETWORK_SD, (repeats, 2, seeds, FOLDS))
    first, second = np.moveaxis(
        rng.normal(0, CASE_SD, (repeats, 1, 1, cases))
        + rng.normal(0, ARM_BY_CASE_SD, (repeats, 2, 1, cases))
        + (sets + networks)[..., fold]
        + rng.normal(0, RESIDUAL_SD, (repeats, 2, seeds, cases)),
        1,
        0,
    )
    return first - second


def main() -> int:
    """Print the table and return 1 where the stated target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10_000)
    repeats = parser.parse_args().repeats
    print(f"{repeats} repeats, {FOLDS} folds\nseeds cases  training-set sd / network sd   rate coverage")
    off = 0
    for seeds, cases, share in product(SEEDS, CASES, SHARES):
        rng = np.random.default_rng([seeds, cases, int(10 * share)])
        table = differences(rng, repeats, seeds, cases, share)
        rate = float(np.mean(np.abs(table.mean(axis=(1, 2))) > two_way(table).half_width()))
        covered = 1 - rate  # no arm is better
        off += share == 0 and not 0.03 <= rate <= 0.06
        print(f"{seeds:5d} {cases:5d} {share:12.1f} {rate:24.3f} {covered:8.3f}", flush=True)
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
