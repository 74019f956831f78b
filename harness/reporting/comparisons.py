"""Every arm against the baseline: differences, intervals and tests of a study, corrected for their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.reporting.report_data import Arm, ReportData
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.statistics.significance import (
    LEVEL,
    Comparison,
    FloatArray,
    compare_arms,
    holm,
    mean_interval,
)

RETRAINING_STAR, NETWORKS_STAR = "*", "°"
TARGETS = ("retraining", "networks")


def comparison_frame(data: ReportData) -> pd.DataFrame:
    """Return one row per arm, role and metric that has a baseline to be compared with.

    Values are the cases' means over regions. The family of Holm's correction is all rows of one metric and role
    ``student``, or of one metric and the other roles.

    Returns:
        the keys; ``role``, ``metric``; ``difference``, ``cases``, ``dropped``, ``seeds``, ``seeds_baseline``; for each
        of :data:`TARGETS` ``p_``, ``holm_``, ``low_``, ``high_``, ``reason_``; ``smallest_p`` of the signed-rank test;
        ``paired``, whether seeds are; ``family_``, how many p values were corrected together; ``rank_biserial``;
        ``standardised``; ``star``.
    """
    rows = [
        {**data.named(pair.arm), "role": pair.role, "metric": pair.metric,
         **_columns(compare_arms(pair.values, pair.baseline, np.random.default_rng(0), pair.paired)), "paired": pair.paired}
        for pair in _pairs(data)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*data.keys, "role", "metric", *_COLUMNS, "paired"])
    frame = frame.astype(dict.fromkeys(data.keys, object))  # as where a factor is not set in all rows
    family = [frame["metric"], frame["role"] == STUDENT]
    for target in TARGETS:
        frame[f"holm_{target}"] = frame.groupby(family)[f"p_{target}"].transform(lambda p: holm(p.tolist()))
        frame[f"family_{target}"] = frame.groupby(family)[f"p_{target}"].transform("count")
    frame["star"] = ""
    for target, mark in {"retraining": RETRAINING_STAR, "networks": NETWORKS_STAR}.items():
        frame["star"] += np.where(frame[f"holm_{target}"] < LEVEL, mark, "")
    return frame


_COLUMNS = (
    "difference", "cases", "dropped", "seeds", "seeds_baseline", "p_networks", "low_networks", "high_networks",
    "reason_networks", "smallest_p", "p_retraining", "low_retraining", "high_retraining", "reason_retraining",
    "rank_biserial", "standardised",
)  # fmt: skip


def _columns(found: Comparison) -> dict[str, Any]:
    fixed, again = found.these_networks, found.retraining
    values = (
        found.difference, found.cases, found.dropped, *found.seeds, fixed.p, fixed.low, fixed.high,
        fixed.reason, fixed.smallest_p, again.p, again.low, again.high, again.reason,
        found.rank_biserial, found.standardised,
    )  # fmt: skip
    return dict(zip(_COLUMNS, values, strict=True))


@dataclass(frozen=True)
class _Pair:
    """The scores ``(seeds, cases)`` of an arm and of its baseline; ``paired`` where their rows are the same seeds."""

    arm: Arm
    role: str
    metric: str
    values: FloatArray
    baseline: FloatArray
    paired: bool


def _pairs(data: ReportData) -> Iterator[_Pair]:
    """Yield all arms and roles but the baseline's student, each with its baseline.

    Where each seed drew few cases of its own, the same for all arms, only the seeds that both arms have are compared.
    """
    tables = {
        group: rows.pivot(index="id", columns="case", values="value")
        for group, rows in data.case_means.groupby(["role", "metric"], sort=False, observed=True)
    }
    for arm, ids in data.ids_by_arm.items():
        baseline = data.ids_by_arm.get(data.baseline_arm(arm))
        if baseline is None:
            continue
        is_baseline, seeds = ids == baseline, data.seeds_of_drawn_cases
        paired = all(id in seeds for id in (*ids, *baseline))
        if paired:
            common = {seeds[id] for id in ids} & {seeds[id] for id in baseline}
            ids, baseline = (_of_seeds(arm, seeds, common) for arm in (ids, baseline))
        for (role, metric), table in tables.items():
            values = _of_trials(table, ids)
            reference = _of_trials(tables[STUDENT, metric], baseline).reindex(columns=values.columns)
            if len(values) and len(reference) and not (is_baseline and role == STUDENT):
                yield _Pair(arm, role, metric, values.to_numpy(), reference.to_numpy(), paired)


def _of_seeds(ids: Sequence[str], seeds: Mapping[str, int], chosen: set[int]) -> tuple[str, ...]:
    """Return the trials of the ``chosen`` seeds, in the order of the seeds."""
    return tuple(sorted((id for id in ids if seeds[id] in chosen), key=seeds.__getitem__))


def _of_trials(table: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    """Return the rows of those trials that have one, in their order."""
    return table.loc[[id for id in ids if id in table.index]]


def mean_intervals(data: ReportData, metric: str) -> dict[tuple[Arm, str, str], tuple[float, float]]:
    """Return the 95 % interval of each arm's own mean for new seeds and cases, by arm, role and region.

    Cases that a network has no value for are left out; arms without an interval are too.
    """
    found = {}
    cases = data.cases[data.cases["metric"] == metric]
    regions = cases[["id", "role", "region", "case", "value"]].astype({"region": object})
    means = data.case_means[data.case_means["metric"] == metric].assign(region=MEAN)
    both = pd.concat([regions, means[regions.columns]], ignore_index=True)
    for (role, region), rows in both.groupby(["role", "region"], sort=False, observed=True):
        table = rows.pivot(index="id", columns="case", values="value")
        for arm, ids in data.ids_by_arm.items():
            interval = mean_interval(_of_trials(table, ids).dropna(axis="columns").to_numpy())
            if not interval.reason:
                found[arm, str(role), str(region)] = (interval.low, interval.high)
    return found
