"""Every arm against the baseline: differences, intervals and tests of a study, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.reporting.report_data import Key, ReportData
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.statistics.significance import (
    LEVEL,
    Comparison,
    FloatArray,
    compare_arms,
    holm,
    mean_interval,
)
from harness.reporting.wording import UNSET

RETRAINING_STAR, NETWORKS_STAR = "*", "°"
TARGETS = ("retraining", "networks")


def comparison_frame(results: ReportData) -> pd.DataFrame:
    """Return one row per arm, role and metric that has a baseline to be compared with.

    Values are the cases' means over regions. The family of Holm's correction is all rows of one metric and role
    ``student``, or of one metric and the other roles.

    Returns:
        the keys; ``role``, ``metric``; ``difference``, ``cases``, ``dropped``, ``seeds``, ``seeds_baseline``; for each
        of :data:`TARGETS` ``p_``, ``holm_``, ``low_``, ``high_``, ``reason_``; ``smallest_p`` of the signed-rank test;
        ``paired``, whether seeds are; ``family``, how many p values were corrected together, by target: ``family_``; ``rank_biserial``, ``standardised``;
        ``star``.
    """
    rows = [
        {**dict(zip(results.keys, pair.arm, strict=True)), "role": pair.role, "metric": pair.metric,
         **_columns(compare_arms(pair.values, pair.baseline, np.random.default_rng(0), pair.paired)), "paired": pair.paired}
        for pair in _pairs(results)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*results.keys, "role", "metric", *_COLUMNS, "paired"])
    frame = frame.astype(dict.fromkeys(results.keys, object))  # as where a factor is not set in all rows
    family = [frame["metric"], frame["role"] == STUDENT]
    for target in TARGETS:
        frame[f"holm_{target}"] = frame.groupby(family)[f"p_{target}"].transform(lambda p: holm(p.tolist()))
        frame[f"family_{target}"] = frame.groupby(family)[f"p_{target}"].transform("count")
    marks = {"retraining": RETRAINING_STAR, "networks": NETWORKS_STAR}
    frame["star"] = ""
    for target, mark in marks.items():
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
    arm: Key
    role: str
    metric: str
    values: FloatArray
    baseline: FloatArray
    paired: bool


def _pairs(results: ReportData) -> list[_Pair]:
    """Return all arms and roles but the baseline's student, each with the baseline that it is compared with.

    Where each seed drew few cases of its own, the same for all arms, both have the seeds that are in both, in one order.
    """
    networks, seeds = results.networks, results.drawn_by_seed
    scored = {
        group: _matrix(rows)
        for group, rows in results.by_case.groupby(["role", "metric"], sort=False, observed=True)
    }
    pairs = []
    for arm, ids in networks.items():
        baseline = networks.get(baseline_of(results.keys, arm, results.study.report.baseline))
        if baseline is None:
            continue
        same, paired = ids == baseline, all(id in seeds for id in (*ids, *baseline))
        if paired:
            common = {seeds[id] for id in ids} & {seeds[id] for id in baseline}
            ids, baseline = (_in_order(arm, seeds, common) for arm in (ids, baseline))
        for role, metric in scored:
            values = scored[role, metric].of(ids)
            reference = scored[STUDENT, metric].of(baseline, cases=scored[role, metric].cases)
            if len(values) and len(reference) and not (same and role == STUDENT):
                pairs.append(_Pair(arm, role, metric, values, reference, paired))
    return pairs


def _in_order(ids: Sequence[str], seeds: Mapping[str, int], common: set[int]) -> tuple[str, ...]:
    """Return the trials of the ``common`` seeds, by seed."""
    return tuple(sorted((id for id in ids if seeds[id] in common), key=seeds.__getitem__))


@dataclass(frozen=True)
class _Matrix:
    """Values of trials (rows) on cases (columns), NaN where there is none."""

    rows: dict[str, int]
    cases: pd.Index
    values: FloatArray

    def of(self, ids: Sequence[str], cases: pd.Index | None = None) -> FloatArray:
        """Return the rows of those trials that have one, on ``cases`` (by default its own)."""
        own = self.values[[self.rows[id] for id in ids if id in self.rows]]
        if cases is None or cases is self.cases or cases.equals(self.cases):
            return own
        return pd.DataFrame(own, columns=self.cases).reindex(columns=cases).to_numpy()


def _matrix(rows: pd.DataFrame) -> _Matrix:
    table = rows.pivot(index="id", columns="case", values="value")
    return _Matrix({str(id): i for i, id in enumerate(table.index)}, table.columns, table.to_numpy())


def baseline_of(keys: Sequence[str], arm: Key, baseline: str) -> Key:
    """Return the key of the arm that ``arm`` is compared with: the baseline method without parameters of its own."""
    return tuple(
        baseline if key == "method" else UNSET if key.startswith("method.") else value
        for key, value in zip(keys, arm, strict=True)
    )


def mean_intervals(results: ReportData, metric: str) -> dict[tuple[Key, str, str], tuple[float, float]]:
    """Return the 95 % interval of each arm's own mean for new seeds and cases, by arm, role and region.

    Cases that a network has no value for are left out; arms without an interval are too.
    """
    networks, found = results.networks, {}
    cases = results.cases[results.cases["metric"] == metric]
    regions = cases[["id", "role", "region", "case", "value"]].astype({"region": object})
    means = results.by_case[results.by_case["metric"] == metric].assign(region=MEAN)
    both = pd.concat([regions, means[regions.columns]], ignore_index=True)
    for (role, region), rows in both.groupby(["role", "region"], sort=False, observed=True):
        table = rows.pivot(index="id", columns="case", values="value")
        for arm, ids in networks.items():
            values = table.loc[table.index.intersection(ids)].dropna(axis="columns").to_numpy()
            verdict = mean_interval(values)
            if not verdict.reason:
                found[arm, str(role), str(region)] = (verdict.low, verdict.high)
    return found
