"""The table of ensembles: the mean of several networks beside these networks, and beside the baseline's ensemble."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.records.schema import CASE_COLUMNS
from harness.reporting.folds import Folds, pooled_cases
from harness.reporting.formats.table import Cell, Column, Table, breaks_between, factor_cells, factor_columns
from harness.reporting.patients import patient_means
from harness.reporting.report_data import Arm, ReportData
from harness.reporting.statistics.estimates import MEAN, STUDENT, case_scores, trial_scores
from harness.reporting.statistics.significance import LEAST_CASES, new_cases_test
from harness.reporting.wording import UNSET, count, metric_of, number, signed

_Values = Mapping[tuple[str, str], float]  # by metric and region


@dataclass(frozen=True)
class Averaged:
    """The ensembles of one arm and role, and their members.

    Attributes:
        over: ``seed`` or ``fold``.
        arm: of the study.
        role: of the networks.
        size: members of an ensemble.
        ensembles: how many there are; the folds of a seed count as one.
        trials: all members.
        values: the ensembles' mean.
        of_members: the mean of the members' own.
        patients: the ensembles' mean over cases and regions, by metric and patient.
        patients_of_members: the same of the members.
        tested: how many test cases there are.
    """

    over: str
    arm: Arm
    role: str
    size: int
    ensembles: int
    trials: tuple[str, ...]
    values: _Values
    of_members: _Values
    patients: pd.Series
    patients_of_members: pd.Series
    tested: int


def ensemble_table(data: ReportData, scored: pd.DataFrame) -> Table:
    """Return the scores of ensembles, their differences to the members' mean, and to the ensemble of the baseline.

    Args:
        data: of the report.
        scored: of ``ensemble_frame``.
    """
    found = [*averaged(data, scored)]
    of_baseline = {(one.over, one.arm): one for one in found if one.role == STUDENT}
    lines, numbers = [], []
    for one in found:
        other = of_baseline.get((one.over, data.baseline_arm(one.arm)))
        other = None if other is one else other
        numbers += [*_numbers(data, one, other)]
        for name in data.study.report.metrics:
            if (name, MEAN) in one.values:
                lines.append((one, _cells(data, one, other, name)))
    has_roles = any(one.role != STUDENT for one in found)
    columns = factor_columns(data.names, data.keys) + [Column("Role")] * has_roles
    columns += [Column("Mean of"), Column("Metric")]
    columns += [Column(text, "number") for text in ("Members", "Ensemble")]
    for group in ("to the members", f"to the ensemble of {data.baseline_name}"):
        columns += [Column(text, "number", f"Difference {group}") for text in ("Mean", "95 % interval")]
    columns.append(Column("Cases", "number"))
    rows = [
        (*factor_cells(data.names, data.named(one.arm)), *[Cell(one.role)] * has_roles, *cells)
        for one, cells in lines
    ]
    return Table(
        name="ensembles",
        title="Ensembles: the mean of several networks",
        caption="Probabilities of trained networks averaged on the grid of each image, and the most probable label scored as a trial's "
        "own. Members: the mean of their own scores. Means over test cases and regions.",
        columns=tuple(columns),
        rows=tuple(rows),
        breaks=breaks_between([(one.over, one.arm, one.role) for one, _ in lines]),
        footnotes=tuple(_notes(data, scored, found)),
        data=pd.DataFrame(numbers),
    )


def averaged(data: ReportData, scored: pd.DataFrame) -> Iterator[Averaged]:
    """Yield the ensembles of each arm and role that are whole, in the order of the study's arms."""
    arms = {id: tuple(arm) for id, *arm in data.trials[["id", *data.keys]].itertuples(index=False, name=None)}
    whole = scored[scored["state"] == "whole"]
    placed = whole.assign(arm=[arms[members[0]] for members in whole["members"]])
    groups = dict(iter(placed.groupby(["over", "role", "arm"], sort=False)))
    for over, role in dict.fromkeys((over, role) for over, role, _ in groups):
        for arm in data.planned_arms:
            rows = groups.get((over, role, arm))
            if rows is not None and _has_all_folds(data, rows, over, arm):
                yield _of_arm(data, rows, over, role, arm)


def _has_all_folds(data: ReportData, rows: pd.DataFrame, over: str, arm: Arm) -> bool:
    """Return whether there is an ensemble over seeds for every fold of the arm; over folds, each stands for itself."""
    return over == "fold" or rows["id"].nunique() == data.folds_by_arm[arm]


def _of_arm(data: ReportData, rows: pd.DataFrame, over: str, role: str, arm: Arm) -> Averaged:
    rows = rows.assign(id=[members[0] for members in rows["members"]])  # a trial, whose patients are known
    ids = tuple(dict.fromkeys(rows["id"]))
    folds: Folds = {ids[0]: ids} if over == "seed" else {id: (id,) for id in ids}
    pooled = pooled_cases(rows[["id", *CASE_COLUMNS]], folds)
    trials = tuple(dict.fromkeys(one for members in rows["members"] for one in members))
    seeds = [id for id in data.ids_by_arm.get(arm, ()) if {*data.whole_seeds[id]} <= {*trials}]
    own, of_patients = (
        frame[frame["id"].isin(seeds) & (frame["role"] == role)]
        for frame in (data.scores, data.patient_means)
    )
    return Averaged(
        over, arm, role, len(rows["members"].iloc[0]), pooled["id"].nunique(), trials,
        _means(trial_scores(pooled, pooled[["id"]].drop_duplicates().astype(object))), _means(own),
        _by_patient(patient_means(case_scores(pooled), data.trials, data.study)), _by_patient(of_patients),
        pooled["case"].nunique(),
    )  # fmt: skip


def _means(scores: pd.DataFrame) -> _Values:
    return scores.groupby(["metric", "region"], sort=False)["value"].mean().to_dict()


def _by_patient(means: pd.DataFrame) -> pd.Series:
    """Return the mean over trials or ensembles by metric and patient, NaN where one of them has no value."""
    plain = means.astype({"id": object, "metric": object, "patient": object})
    table = plain.pivot(index=["metric", "patient"], columns="id", values="value")
    return table.mean(axis="columns", skipna=False)


def _interval(first: pd.Series, second: pd.Series, metric: str) -> tuple[float, float]:
    """Return the interval of the differences of the patients that both have a value for; NaN where they are too few."""
    apart = (first - second).dropna()
    apart = apart[apart.index.get_level_values("metric") == metric]
    found = new_cases_test(apart.to_numpy(), np.random.default_rng(0))
    return (math.nan, math.nan) if found.reason else (found.low, found.high)


def _cells(data: ReportData, one: Averaged, other: Averaged | None, name: str) -> list[Cell]:
    metric, key = metric_of(name), (name, MEAN)
    value, members = (values.get(key, math.nan) * metric.scale for values in (one.values, one.of_members))
    cells = [
        Cell(_mean_of(one)),
        Cell(f"{metric.label} ({metric.unit})"),
        Cell(number(members), value=members, trials=one.trials),
        Cell(number(value), value=value, trials=one.trials),
    ]
    of_other = other.values.get(key, math.nan) * metric.scale if other else math.nan
    for base, patients in ((members, one.patients_of_members), (of_other, other.patients if other else None)):
        gain, low, high = value - base, math.nan, math.nan
        if patients is not None:
            low, high = _interval(one.patients, patients, name)
        text = UNSET if math.isnan(low) else f"{signed(low * metric.scale)} to {signed(high * metric.scale)}"
        cells += [Cell(signed(gain), value=gain), Cell(text, value=low)]
    return [*cells, Cell(str(one.tested), value=one.tested)]


def _mean_of(one: Averaged) -> str:
    """Return ``3 seeds``, or ``5 folds, 3 ensembles``."""
    text = count(one.size, one.over)
    return text if one.ensembles == 1 else f"{text}, {one.ensembles} ensembles"


def _numbers(data: ReportData, one: Averaged, other: Averaged | None) -> Iterator[dict[str, Any]]:
    """Yield the tidy numbers of an arm's ensembles, in the recorded unit."""
    for (metric, region), value in one.values.items():
        yield {
            **data.named(one.arm), "over": one.over, "members": one.size, "ensembles": one.ensembles, "role": one.role,
            "metric": metric, "region": region, "value": value, "value_members": one.of_members.get((metric, region)),
            "value_baseline": other.values.get((metric, region)) if other else None, "trials": " ".join(one.trials),
        }  # fmt: skip


def _notes(data: ReportData, scored: pd.DataFrame, found: Sequence[Averaged]) -> Iterator[str]:
    states = scored.drop_duplicates("id")["state"].value_counts()
    if changed := int(states.get("changed", 0)):
        yield (
            f"Left out: {count(changed, 'ensemble')} with a member whose record is another one now; 'medctx ensemble "
            f"{data.study.name}' makes them again."
        )
    if unfinished := int(states.get("unfinished", 0)):
        yield f"Left out: {count(unfinished, 'ensemble')} not finished; 'medctx ensemble {data.study.name}' goes on."
    having = {one.arm for one in found}
    arms = {tuple(arm) for _, *arm in data.trials[["id", *data.keys]].itertuples(index=False, name=None)}
    if len(having) < len(arms):
        yield f"Without an ensemble: {count(len(arms - having), 'arm')} of {len(arms)}."
    yield (
        "Members and ensemble have the same test cases; no member has trained on them or was selected by them. An ensemble costs as "
        "much at prediction as all of its members."
    )
    yield (
        f"95 % interval: of the difference of these very networks on new cases, studentised bootstrap over patients, from "
        f"{LEAST_CASES} on, not corrected for the number of rows. An ensemble is one predictor: whether others, trained anew, would differ as "
        "much is not tested; that needs several ensembles of networks of their own."
    )
    yield from data.fold_notes
