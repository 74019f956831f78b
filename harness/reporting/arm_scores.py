"""The scores that a contrast of arms rests on: which seeds and patients its arms have in common.

A contrast is a weighted sum of arms' mean scores, so it is the mean of one table of weighted sums, seeds by patients, where all
its arms have the same seeds. Where they do not, the arms with positive weights and those with negative ones have a table each.
Datasets have tables of their own, since they have patients of their own, and seeds of their own where they share too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.reporting.report_data import Arm, ReportData
from harness.reporting.statistics.mean_variance import FloatArray
from harness.reporting.statistics.significance import LEAST_SEEDS, Significance, mean_test_of_sets

_NO_WEIGHT = 1e-12


@dataclass(frozen=True)
class WeightedArm:
    """An arm in a contrast: its weight, and whose scores of it are meant."""

    weight: float
    arm: Arm
    role: str


@dataclass(frozen=True)
class Sample:
    """What a contrast is estimated from.

    Attributes:
        sets: for each dataset one group of paired seeds, or two: weighted scores ``(seeds, patients)`` without NaN, whose means add
            up to the contrast.
        datasets: their names.
        same_seeds: whether these have the same seeds; else each has its own.
        seeds: how many the arms with positive weights have in it, and those with negative ones: on the dataset that has fewest.
        left_out: seeds of some arm that are not in it.
        patients: that all networks have a value for, ``cases`` theirs.
        dropped: patients that only some have a value for.
        paired: whether all arms of a dataset have the same seeds.
    """

    sets: tuple[tuple[FloatArray, ...], ...]
    datasets: tuple[str, ...]
    same_seeds: bool
    seeds: tuple[int, int]
    left_out: int
    patients: int
    cases: int
    dropped: int
    paired: bool

    @property
    def estimate(self) -> float:
        """The contrast; NaN where there is no patient."""
        return sum(float(group.mean()) if group.size else np.nan for groups in self.sets for group in groups)

    def test(self) -> Significance:
        """Return the test of the contrast for new seeds and new patients of these datasets."""
        return mean_test_of_sets(self.sets, self.same_seeds)


@dataclass(frozen=True)
class _Side:
    """Arms of a contrast whose weighted scores are one table: its seeds, and how many others some arm has."""

    terms: list[WeightedArm]
    seeds: list[int]
    left_out: int


@dataclass(frozen=True)
class _Table:
    """Scores ``(trials, patients)`` of a role and metric, the row of each trial, and how many cases a patient has."""

    values: FloatArray
    rows: dict[str, int]
    cases: FloatArray


class ArmScores:
    """The patients' scores of all arms of a report."""

    def __init__(self, data: ReportData) -> None:
        self._ids = data.ids_by_arm
        self._place = data.keys.index("dataset") if "dataset" in data.keys else None
        self._only = str(data.trials["dataset"].iloc[0]) if len(data.trials) else ""
        self._seeds = dict(zip(data.complete["id"], data.complete["seed"].astype(int), strict=True))
        self._tables = {}
        for (role, metric), own in data.patient_means.groupby(["role", "metric"], sort=False, observed=True):
            wide = own.pivot(index="id", columns="patient", values=["value", "cases"])
            rows = {str(id): row for row, id in enumerate(wide.index)}
            self._tables[str(role), str(metric)] = _Table(
                wide["value"].to_numpy(float), rows, wide["cases"].to_numpy(float)
            )

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The roles and metrics that there are scores of."""
        return list(self._tables)

    def has(self, arm: Arm, role: str, metric: str) -> bool:
        """Return whether an arm has a score."""
        table = self._tables.get((role, metric))
        return table is not None and any(id in table.rows for id in self._ids.get(arm, ()))

    def dataset(self, arm: Arm) -> str:
        """Return the dataset that an arm is tested on."""
        return self._only if self._place is None else str(arm[self._place])

    def table(self, arm: Arm, role: str, metric: str) -> tuple[list[int], FloatArray]:
        """Return the seeds of an arm and their scores ``(seeds, patients)``, NaN where there is none."""
        rows = self._rows(WeightedArm(1.0, arm, role), metric)
        return list(rows), self._tables[role, metric].values[list(rows.values())]

    def sample(self, terms: Sequence[WeightedArm], metric: str) -> Sample:
        """Return what a contrast is estimated from; each of its arms has a score.

        Seeds that all arms have are paired. Datasets that share fewer than three have seeds of their own. With fewer than three on
        a dataset each side has those of its own, where these are three or more or no seed is shared.
        """
        names = tuple(dict.fromkeys(self.dataset(one.arm) for one in terms))
        same_seeds = len(names) == 1 or len(self._common_seeds(terms, metric)) >= LEAST_SEEDS
        of_each = [[one for one in terms if self.dataset(one.arm) == name] for name in names]
        sides = [self._sides(own, metric) for own in ([terms] if same_seeds else of_each)]
        found = [
            self._of_dataset(name, part, metric)
            for name, part in zip(names, sides * len(names) if same_seeds else sides, strict=True)
        ]
        return Sample(
            sets=tuple(groups for groups, _ in found),
            datasets=names,
            same_seeds=same_seeds,
            seeds=(min(len(part[0].seeds) for part in sides), min(len(part[-1].seeds) for part in sides)),
            left_out=sum(side.left_out for part in sides for side in part),
            patients=sum(counts[0] for _, counts in found),
            cases=sum(counts[1] for _, counts in found),
            dropped=sum(counts[2] for _, counts in found),
            paired=all(len(part) == 1 for part in sides),
        )

    def _sides(self, terms: Sequence[WeightedArm], metric: str) -> list[_Side]:
        """Return all arms as one side if they are paired, else those with positive weights and those with negative ones."""
        whole = self._side(terms, metric)
        halves = [[one for one in terms if (one.weight > 0) == positive] for positive in (True, False)]
        if len(whole.seeds) >= LEAST_SEEDS or not all(halves):
            return [whole]
        apart = [self._side(half, metric) for half in halves]
        enough = min(len(side.seeds) for side in apart) >= LEAST_SEEDS
        return apart if enough or not whole.seeds else [whole]

    def _side(self, terms: Sequence[WeightedArm], metric: str) -> _Side:
        """Return arms with the seeds that all of them have."""
        seeds = self._common_seeds(terms, metric)
        every = {seed for one in terms for seed in self._rows(one, metric)}
        return _Side(list(terms), seeds, len(every) - len(seeds))

    def _rows(self, one: WeightedArm, metric: str) -> dict[int, int]:
        """Return the row of each seed of an arm."""
        rows = self._tables[one.role, metric].rows
        return {self._seeds[id]: rows[id] for id in self._ids.get(one.arm, ()) if id in rows}

    def _common_seeds(self, terms: Sequence[WeightedArm], metric: str) -> list[int]:
        """Return the seeds that all arms of some terms have, in order."""
        found = [set(self._rows(one, metric)) for one in terms]
        return sorted(set.intersection(*found)) if found else []

    def _of_dataset(
        self, name: str, sides: Sequence[_Side], metric: str
    ) -> tuple[tuple[FloatArray, ...], tuple[int, int, int]]:
        """Return the groups of one dataset, and how many patients, cases and dropped patients there are."""
        known: Any = True  # for each patient, from the first arm on
        some, cases, groups = known & False, 0.0, []
        for side in sides:
            total: FloatArray | float = 0.0
            for one in side.terms:
                if self.dataset(one.arm) != name:
                    continue
                table, rows = self._tables[one.role, metric], self._rows(one, metric)
                chosen = [rows[seed] for seed in side.seeds]
                values = table.values[chosen]
                known, some = known & ~np.isnan(values).any(axis=0), some | ~np.isnan(values).all(axis=0)
                cases = np.fmax(cases, np.nan_to_num(table.cases[chosen]).max(axis=0, initial=0))
                total = total + one.weight * values
            if not isinstance(total, float):
                groups.append(total)
        known = known & some
        counts = int(np.sum(known)), int(np.sum(np.where(known, cases, 0))), int(np.sum(some & ~known))
        return tuple(group[:, known] for group in groups), counts


def merged(terms: Sequence[WeightedArm]) -> list[WeightedArm]:
    """Return terms of which no two are of one arm and role, without those whose weights add up to nothing."""
    weights: dict[tuple[Arm, str], float] = {}
    for one in terms:
        weights[one.arm, one.role] = weights.get((one.arm, one.role), 0.0) + one.weight
    return [WeightedArm(weight, *key) for key, weight in weights.items() if abs(weight) > _NO_WEIGHT]
