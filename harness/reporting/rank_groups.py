"""The arms of a report that are ranked together: those of one dataset, network and number of training cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from harness.reporting.report_data import ReportData, with_print_names
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.statistics.mean_variance import FloatArray
from harness.reporting.statistics.ranking import (
    Ranking,
    drawn_ranks,
    kendall_tau,
    rank_arms,
    ranks,
    ranks_by_test,
)
from harness.reporting.statistics.significance import LEAST_SEEDS, LEVEL, holm, retraining_test
from harness.reporting.wording import metric_of
from harness.study.axes import REPEATED

GROUP = ("dataset", "architecture", "shots")


@dataclass(frozen=True)
class RankGroup:
    """Arms that are ranked together.

    Attributes:
        values: of the factors :data:`GROUP`, in names for print.
        arms: their names.
        baseline: the place of the baseline among them; None where it is not there.
        scores: ``(seeds, patients)`` of each arm, of patients that all networks have a value for.
        shared: whether the rows of all arms are the same seeds.
        ranking: over patients, of the arms' means over seeds.
        by_mean: ``(arms,)`` ranks of the means.
        by_test: ranks by how many others an arm beats for retraining, corrected over all pairs; NaN where ``reason`` says why.
        tau: Kendall's, of the two; NaN where one has only ties.
        drawn: ``(draws, arms)`` ranks of the means when seeds and patients are drawn anew.
        reason: why there is no test.
    """

    values: Mapping[str, Any]
    arms: tuple[str, ...]
    baseline: int | None
    scores: tuple[FloatArray, ...]
    shared: bool
    ranking: Ranking
    by_mean: FloatArray
    by_test: FloatArray
    tau: float
    drawn: FloatArray
    reason: str


def rank_groups(data: ReportData, metric: str = "dice") -> Iterator[RankGroup]:
    """Yield the groups of at least three arms, with the student's scores in a metric.

    Where all arms of a group have three seeds in common, these are compared; else each arm has its own.

    Args:
        data: of the report.
        metric: a recorded one.
    """
    every = with_print_names(data.complete_arms, data.names).set_index("id")
    repeats = [key for key in (*REPEATED, "subset") if key in every]
    trials = every[[*GROUP, *repeats, "arm"]]
    means = data.patient_means
    chosen = means[(means["metric"] == metric) & (means["role"] == STUDENT)]
    table = chosen.pivot(index="id", columns="patient", values="value")
    order = list(dict.fromkeys(trials["arm"]))
    baseline = set(trials.index[data.complete.set_index("id")["method"].loc[trials.index] == data.baseline])
    for values, rows in trials.groupby([*GROUP], sort=False):
        rows = rows.loc[rows.index.intersection(table.index)]
        own = {arm: rows[rows["arm"] == arm] for arm in order}
        arms = {arm: trials_of for arm, trials_of in own.items() if len(trials_of)}
        if len(arms) < 3:
            continue
        seeds = [
            dict(zip(map(tuple, one[repeats].to_numpy()), one.index, strict=True)) for one in arms.values()
        ]
        kept, shared = _common(seeds)
        known = table.loc[[id for ids in kept for id in ids]].dropna(axis="columns")
        if not known.shape[1]:
            continue
        scores = [known.loc[ids].to_numpy(float) for ids in kept]
        place = next((i for i, ids in enumerate(kept) if set(ids) <= baseline), None)
        named = dict(zip(GROUP, values, strict=True))
        yield _ranked(named, tuple(arms), place, scores, shared, metric_of(metric).higher_is_better)


def _common(seeds: Sequence[Mapping[tuple[Any, ...], str]]) -> tuple[list[list[str]], bool]:
    """Return the trials of each arm that are compared, and whether they are of the same seeds in the same order."""
    common = [seed for seed in seeds[0] if all(seed in other for other in seeds)]
    if len(common) >= LEAST_SEEDS or all(len(one) == len(common) for one in seeds):
        return [[one[seed] for seed in common] for one in seeds], True
    return [list(one.values()) for one in seeds], False


def _ranked(
    values: Mapping[str, Any], arms: tuple[str, ...], baseline: int | None, scores: Sequence[FloatArray], shared: bool, higher: bool
) -> RankGroup:  # fmt: skip
    means = np.array([one.mean() for one in scores])
    by_mean = ranks(means, higher)
    better, reason = _better(scores, means, shared, higher)
    by_test = np.full(len(arms), np.nan) if reason else ranks_by_test(better)
    return RankGroup(
        values, arms, baseline, tuple(scores), shared,
        rank_arms(np.stack([one.mean(axis=0) for one in scores], axis=1), higher),
        by_mean, by_test, float("nan") if reason else kendall_tau(by_mean, by_test),
        drawn_ranks(scores, shared, higher, np.random.default_rng(0)), reason,
    )  # fmt: skip


def _better(
    scores: Sequence[FloatArray], means: FloatArray, shared: bool, higher: bool
) -> tuple[FloatArray, str]:
    """Return which arm beats which for retraining, ``(arms, arms)``, by Holm's rule over all pairs; or why that is not tested."""
    pairs = list(combinations(range(len(scores)), 2))
    tests = [retraining_test(scores[i], scores[j], shared) for i, j in pairs]
    better = np.zeros((len(scores), len(scores)))
    for (i, j), p in zip(pairs, holm([test.p for test in tests]), strict=True):
        first_wins = (means[i] > means[j]) == higher
        better[(i, j) if first_wins else (j, i)] = p < LEVEL
    return better, next((test.reason for test in tests if test.reason.endswith("needed")), "")
