"""Do the tests, intervals, verdicts and powers of the report keep what they promise? A seeded simulation.

Experiments without a difference, or with a known one, are drawn by the designs of ``statistics_designs.py``. For each procedure, design
and size: the rate of p < 0.05, the coverage of the 95 % interval, and how often p is below 0.05 / 32, in multiples of that, as where
32 comparisons are corrected together. The tests for retraining are done on all repeats at once, and on some one by one by the function that
the report calls, which has to agree. For "these networks" the truth is what the trained networks differ by.

Run: ``python tests/benchmarks/statistics_simulation.py [--repeats 20000] [--only retraining] [--lines TEXT]``. A line ends in ``ok`` where the rate is within [0.03,
0.06], the coverage within [0.93, 0.97] and the tail at most 1.5 times what it should be; in ``ok:`` and a reason where the
design has other limits, ``LIMITS``; in ``refused`` where the report gives no verdict. The exit status is 1 where one is off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np
import statistics_designs as designs
from statistics_designs import Drawn, Size

from harness.reporting.statistics.datasets import mean_of_datasets
from harness.reporting.statistics.mean_variance import Components, MeanVariance, Part, together, two_way
from harness.reporting.statistics.power import expected_variance, smallest_difference
from harness.reporting.statistics.ranking import rank_arms
from harness.reporting.statistics.robust import interquartile_mean, probability_of_improvement
from harness.reporting.statistics.significance import (
    LEVEL,
    equivalence_p,
    mean_test,
    mean_test_of_sets,
    new_cases_test,
    student_test,
)

SIZES = ((12, 3), (12, 5), (20, 3), (50, 3), (50, 5))  # cases or patients, seeds
TAIL = LEVEL / 32
BATCH, ONE_BY_ONE = 1000, 20
Draw = Callable[[np.random.Generator, Size], Drawn]


@dataclass(frozen=True)
class Limits:
    """What a rate and a coverage may be, how many times too often p may be far below 5 %, and why where not as usual."""

    rate: tuple[float, float] = (0.03, 0.06)
    coverage: tuple[float, float] = (0.93, 0.97)
    tail: float = 1.5
    why: str = ""


FEW = Limits((0.02, 0.06), (0.93, 0.98), why="careful, since 3 seeds and 12 cases hardly tell the variances")
UNPAIRED = Limits(
    (0.015, 0.06),
    (0.93, 0.985),
    2.5,
    "careful, since two groups of few seeds; unequal ones tell their tail too well",
)
COLLAPSE = Limits((0.015, 0.06), (0.93, 0.985), why="careful: what collapses makes the variance large")
DIFFERENT = Limits((0.0, 1.0), tail=float("inf"), why="arms do differ: the coverage alone counts")
UNSEEN = Limits(
    (0.0, 1.0),
    (0.6, 1.0),
    float("inf"),
    "known limit: in half of the studies no seed of the arm collapses, and what no seed has shown is in no interval",
)
NOT_DONE = Limits(
    (0.05, 0.12),
    (0.88, 0.95),
    float("inf"),
    "not done: what would be if cases of a patient counted as independent",
)


@dataclass(frozen=True)
class Line:
    """A design for the test for retraining, with its limits."""

    name: str
    draw: Draw
    limits: Limits = field(default_factory=Limits)


LINES = (
    *(Line(f"paired seeds, arm x case sd {by_case}, seed sd {seed}", partial(designs.paired, by_case=by_case, seed=(seed,)))
      for by_case, seed in product((0.0, 1.0), (0.0, 0.2, 1.0))),
    Line("paired seeds, variance 100 : 1", partial(designs.paired, seed=(2.0, 0.2))),
    Line("paired seeds, correlated 0.9", designs.correlated_seeds),
    Line("mean of one arm", designs.one_mean),
    *(Line(f"own seeds, seed sd {seed}", partial(designs.unpaired, seed=(seed,)), UNPAIRED) for seed in (0.0, 0.5, 1.0)),
    Line("own seeds, variance 10 : 1", partial(designs.unpaired, seed=(2.0, 0.63)), UNPAIRED),
    Line("own seeds, variance 100 : 1", partial(designs.unpaired, seed=(2.0, 0.2)), UNPAIRED),
    Line("patients of two cases, correlated 0.6", designs.patients),
    Line("the same, cases as independent", partial(designs.patients, averaged=False), NOT_DONE),
    Line("Dice, 3 % missed by both", designs.dice),
    Line("Dice, 2 % and 6 % missed", partial(designs.dice, missed=(0.02, 0.06)), DIFFERENT),
    Line("one arm skewed over cases", designs.skewed),
    Line("10 % of seeds collapse", designs.collapsed, COLLAPSE),
    Line("20 % of seeds of one arm collapse", partial(designs.collapsed, shares=(0.2, 0.0)), UNSEEN),
    Line("five folds", designs.folds),
    Line("contrast: mean of 3 levels", partial(designs.weighed, weights=(1 / 3, 1 / 3, 1 / 3))),
    Line("contrast: interaction", partial(designs.weighed, weights=(1.0, -1.0))),
    Line("contrast: trend over 3 levels", partial(designs.weighed, weights=(-0.5, 0.0, 0.5))),
)  # fmt: skip


class Table:
    """Prints lines, and counts those that are off."""

    def __init__(self) -> None:
        self.off = 0
        print(f"{'procedure':52s} cases seeds   rate coverage  tail")

    def add(self, head: str, cases: int, seeds: int, limits: Limits, rate: float = np.nan, coverage: float = np.nan, tail: float = np.nan) -> None:  # fmt: skip
        """Print one line; what a procedure does not give is NaN, and cannot be off."""
        within = (
            (np.isnan(rate) or limits.rate[0] <= rate <= limits.rate[1])
            and (np.isnan(coverage) or limits.coverage[0] <= coverage <= limits.coverage[1])
            and (np.isnan(tail) or tail <= limits.tail)
        )
        self.off += not within
        numbers = "".join(
            f"{'-' if np.isnan(x) else f'{x:.{d}f}':>{w}s}"
            for x, d, w in ((rate, 3, 7), (coverage, 3, 9), (tail, 1, 6))
        )
        verdict = f"ok: {limits.why}" if within and limits.why else "ok" if within else "OUT"
        print(f"{head:52s} {cases:5d} {seeds:5d}{numbers}  {verdict}", flush=True)


def batches(draw: Draw, cases: int, seeds: int, repeats: int) -> Iterator[Drawn]:
    """Yield so many repeats of a design, seeded by its size."""
    rng = np.random.default_rng([cases, seeds])
    for _ in range(repeats // BATCH):
        yield draw(rng, Size(BATCH, seeds, cases))


def estimate(groups: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the sum of the groups' means in each repeat."""
    return np.asarray(sum(group.mean(axis=(-2, -1)) for group in groups))


def retraining(table: Table, repeats: int, lines: str) -> None:
    """Size, coverage and tail of the test for retraining, in every design whose name has the text ``lines``."""
    for line, (cases, seeds) in product([one for one in LINES if lines in one.name], SIZES):
        found, covered, far = [], [], []
        for groups, truth in batches(line.draw, cases, seeds, repeats):
            variance, middle = two_way(*groups), estimate(groups)
            half = variance.half_width()
            found.append(np.abs(middle) > half)
            covered.append(np.abs(middle - truth) <= half)
            far.append(np.abs(middle) > variance.half_width(TAIL))
            one_by_one = [mean_test(*(group[i] for group in groups)) for i in range(ONE_BY_ONE)]
            assert [test.p < LEVEL for test in one_by_one] == [*found[-1][:ONE_BY_ONE]]
            assert [test.p < TAIL for test in one_by_one] == [*far[-1][:ONE_BY_ONE]]
        few = (cases, seeds) == (12, 3) and not line.limits.why
        rate, coverage, tail = (float(np.mean(values)) for values in (found, covered, far))
        table.add(line.name, cases, seeds, FEW if few else line.limits, rate, coverage, tail / TAIL)


def equivalence(table: Table, repeats: int, lines: str) -> None:
    """How often arms that differ by just the margin are called equivalent: 5 % at most."""
    chosen = [line for line in LINES if not line.limits.why and lines in line.name]
    for line, (cases, seeds), scale in product(chosen, SIZES, (0.5, 1.0)):
        called = []
        for groups, truth in batches(line.draw, cases, seeds, repeats // 4):
            variance, margin = two_way(*groups), scale
            middle = estimate(groups) - truth + margin
            called.append(np.abs(middle) + variance.half_width(2 * LEVEL) < margin)
            for i in range(ONE_BY_ONE):
                test = mean_test(*(group[i] for group in groups))
                assert (equivalence_p(test, middle[i], margin) < LEVEL) == called[-1][i]
        table.add(
            f"equivalent at the margin {scale}: {line.name}",
            cases,
            seeds,
            Limits((0.0, 0.05)),
            float(np.mean(called)),
        )


def of_datasets(table: Table, repeats: int) -> None:
    """Size and coverage for other datasets, seeds and patients, where the report takes datasets as random."""
    for number, between, patients in product((5, 8), (0.0, 0.3, 1.0), ((), (12, 20, 50, 200))):
        for seeds in (3, 5):
            rng, found = np.random.default_rng([number, seeds]), []
            for _ in range(repeats // BATCH):
                drawn = designs.datasets(rng, Size(BATCH, seeds, 20), number, between, patients)
                estimates = np.stack([estimate(groups) for groups in drawn], axis=1)
                part = Part(estimates.var(axis=1, ddof=1) / number, number - 1)
                half = MeanVariance((part,), (), ()).half_width()
                found.append(np.abs(estimates.mean(axis=1)) > half)
                one_by_one = [student_test(*mean_of_datasets(one)) for one in estimates[:ONE_BY_ONE]]
                assert [test.p < LEVEL for test in one_by_one] == [*found[-1][:ONE_BY_ONE]]
            sizes = f"12 to 200 patients, {number}" if patients else f"{number}"
            name = f"{sizes} datasets at random, sd {between}"
            rate = float(np.mean(found))
            table.add(name, 0 if patients else 20, seeds, Limits(), rate, 1 - rate)


def of_fixed_datasets(table: Table, repeats: int) -> None:
    """Size, coverage and tail for other seeds and patients of the same few datasets, each with seeds of its own."""
    for seeds, patients in (((3, 3), (12, 12)), ((12, 5), (50, 20)), ((12, 5, 3), (50, 20, 20))):
        rng, found, far = np.random.default_rng([*seeds]), [], []
        for _ in range(repeats // BATCH):
            sets = designs.datasets(rng, Size(BATCH, 0, 0), len(seeds), 0.0, patients, seeds)
            middle = sum(estimate(groups) for groups in sets)
            variance = together([two_way(*groups) for groups in sets])
            found.append(np.abs(middle) > variance.half_width())
            far.append(np.abs(middle) > variance.half_width(TAIL))
            one_by_one = [
                mean_test_of_sets([[group[i] for group in groups] for groups in sets], same_seeds=False)
                for i in range(ONE_BY_ONE)
            ]
            assert [test.p < LEVEL for test in one_by_one] == [*found[-1][:ONE_BY_ONE]]
        rate, tail = float(np.mean(found)), float(np.mean(far))
        name = f"{len(seeds)} datasets, {' and '.join(map(str, seeds))} seeds of their own"
        table.add(name, min(patients), min(seeds), Limits(), rate, 1 - rate, tail / TAIL)


def powers(table: Table, repeats: int) -> None:
    """How often the test finds the difference that the formula says 80 % of studies find: 75 to 85 %."""
    grid = {"no seed variance": (0.0, 0.5), "some": (0.5, 0.5), "much": (1.0, 0.5), "arm x case": (0.3, 1.0)}
    for (name, (seed, by_case)), (cases, seeds) in product(grid.items(), SIZES):
        variance = expected_variance(Components(2 * seed**2, 2 * by_case**2, 2.0), seeds, cases)
        difference, found = smallest_difference(variance), []
        for groups, _ in batches(
            partial(designs.paired, by_case=by_case, seed=(seed,)), cases, seeds, repeats // 4
        ):
            found.append(np.abs(estimate(groups) + difference) > two_way(*groups).half_width())
        table.add(
            f"power of the smallest difference: {name}",
            cases,
            seeds,
            Limits((0.75, 0.85)),
            float(np.mean(found)),
        )


def summaries(table: Table, repeats: int) -> None:
    """Coverage of the interquartile mean, and of the probability of improvement of arms that are alike."""
    for (cases, seeds), seed in product(SIZES, (0.5, 1.0)):
        rng, covered = (
            np.random.default_rng([cases, seeds]),
            {"interquartile mean": [], "probability of improvement": []},
        )
        for _ in range(repeats // 4 // BATCH):
            first, second = designs.arms(rng, Size(BATCH, seeds, cases), seed=(seed,))
            for name, truth, found in zip(
                covered,
                (0.0, 0.5),
                (interquartile_mean(first), probability_of_improvement(first, second, True)),
                strict=True,
            ):
                covered[name].append((found.low <= truth) & (truth <= found.high))
        for name, values in covered.items():
            table.add(f"{name}, seed sd {seed}", cases, seeds, Limits(), coverage=float(np.mean(values)))


def these_networks(table: Table, repeats: int) -> None:
    """The same of the tests whose target is the trained networks: new cases only."""
    for (cases, seeds), by_case in product(((7, 3), (12, 2), (12, 3), (50, 5)), (0.0, 1.0)):
        rng = np.random.default_rng([cases, seeds])
        scores = np.stack(
            designs.arms(rng, Size(repeats, seeds, cases), 4, by_case=by_case, seed=(0.0,)), axis=1
        ).mean(axis=2)
        tests = [new_cases_test(one[0] - one[1], rng) for one in scores]
        if not tests[0].reason:
            rate, coverage = (
                np.mean([test.p < LEVEL for test in tests]),
                np.mean([test.low <= 0 <= test.high for test in tests]),
            )
            table.add(
                f"these networks: signed rank, bootstrap-t, {by_case}",
                cases,
                seeds,
                Limits(),
                float(rate),
                float(coverage),
            )
        ranked = [rank_arms(one.T, higher_is_better=True) for one in scores]
        if ranked[0].reason:
            print(
                f"{'these networks: Friedman, Nemenyi':52s} {cases:5d} {seeds:5d}  refused: {ranked[0].reason}"
            )
            continue
        table.add(
            f"these networks: Friedman, 4 arms, {by_case}",
            cases,
            seeds,
            Limits(),
            float(np.mean([one.p < LEVEL for one in ranked])),
        )
        any_pair = np.mean([np.ptp(one.average) > one.critical for one in ranked])
        table.add(
            f"these networks: Nemenyi, any of 6 pairs, {by_case}", cases, seeds, Limits(), float(any_pair)
        )


def refusals() -> None:
    """Print for which sizes the report says why there is no test."""
    for cases, seeds in ((12, 2), (11, 3), (7, 3)):
        print(
            f"{'retraining':52s} {cases:5d} {seeds:5d}  refused: {mean_test(np.random.default_rng(0).normal(size=(seeds, cases))).reason}"
        )


def main() -> int:
    """Print the table and return 1 where a verdict is off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts: dict[str, Callable[[Table, int], None]] = {
        "retraining": lambda table, repeats: retraining(table, repeats, asked.lines),
        "refusals": lambda table, repeats: refusals(),
        "equivalence": lambda table, repeats: equivalence(table, repeats, asked.lines),
        "datasets": of_datasets,
        "fixed": of_fixed_datasets,
        "powers": powers,
        "summaries": summaries,
        "networks": lambda table, repeats: these_networks(table, repeats // 10),
    }
    parser.add_argument("--repeats", type=int, default=20_000)
    parser.add_argument("--only", nargs="*", choices=parts, default=[*parts], metavar="PART")
    parser.add_argument("--lines", default="", help="text in the name of designs: these alone")
    asked = parser.parse_args()
    print(f"{asked.repeats} repeats; case sd {designs.CASE_SD}, residual sd 1")
    table = Table()
    for name in asked.only:
        parts[name](table, asked.repeats)
    print("all within bounds" if not table.off else f"{table.off} out of bounds")
    return int(table.off > 0)


if __name__ == "__main__":
    sys.exit(main())
