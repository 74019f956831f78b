"""Every arm against the baseline: differences, intervals and tests of a study, corrected for their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from harness.reporting.arm_scores import ArmScores, Sample, WeightedArm
from harness.reporting.helpers import Share, alone, cut
from harness.reporting.patients import patient_means
from harness.reporting.report_data import Arm, ReportData
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.statistics.significance import LEVEL, Comparison, compare, holm, mean_interval
from harness.reporting.statistics.verdicts import decided, with_verdicts
from harness.reporting.wording import metric_of

RETRAINING_STAR, NETWORKS_STAR = "*", "°"
TARGETS = ("retraining", "networks")
_AT_ONCE = 50  # comparisons that one process makes in one go


def comparison_frame(data: ReportData, share: Share = alone) -> pd.DataFrame:
    """Return one row per arm, role and metric that has a baseline to be compared with.

    Values are the patients' means over cases and regions. The family of Holm's correction is all rows of one metric and role
    ``student``, or of one metric and the other roles.

    Returns:
        the keys; ``role``, ``metric``; ``difference``, ``patients``, ``cases``, ``dropped`` (patients), ``seeds``, ``seeds_baseline``,
        ``left_out`` (seeds of one arm alone); for each of :data:`TARGETS` ``p_``, ``holm_``, ``low_``, ``high_``, ``reason_``;
        ``smallest_p`` of the signed-rank test; ``paired``, whether seeds are; ``family_``, how many p values were corrected
        together; ``rank_biserial``; ``standardised``; ``margin``, ``p_equivalent``, ``holm_equivalent``, ``detectable`` and
        ``verdict`` for retraining; ``star``.
    """
    pairs = [*_pairs(data, ArmScores(data))]
    asked = [
        (sample, data.study.report.margin_of(metric) / metric_of(metric).scale)
        for _, _, metric, sample in pairs
    ]
    found = share(_all_columns, [(some,) for some in cut(asked, _AT_ONCE)])()
    rows = [
        {**data.named(arm), "role": role, "metric": metric, **columns}
        for (arm, role, metric, _), columns in zip(pairs, chain.from_iterable(found), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=[*data.keys, "role", "metric", *_COLUMNS])
    frame = frame.astype(dict.fromkeys(data.keys, object))  # as where a factor is not set in all rows
    family = [frame["metric"], frame["role"] == STUDENT]
    frame = with_verdicts(frame, family, frame["metric"].map(lambda name: metric_of(name).higher_is_better))
    frame["holm_networks"] = frame.groupby(family)["p_networks"].transform(lambda p: holm(p.tolist()))
    frame["family_networks"] = frame.groupby(family)["p_networks"].transform("count")
    stars = {"retraining": RETRAINING_STAR, "networks": NETWORKS_STAR}
    return frame.assign(star=[
        "".join(mark for held, mark in zip(row, stars.values(), strict=True) if held)
        for row in (frame[[f"holm_{target}" for target in stars]] < LEVEL).to_numpy()
    ])  # fmt: skip


_COLUMNS = (
    "difference", "patients", "cases", "dropped", "seeds", "seeds_baseline", "left_out", "paired", "p_networks", "low_networks",
    "high_networks", "reason_networks", "smallest_p", "p_retraining", "low_retraining", "high_retraining", "reason_retraining",
    "rank_biserial", "standardised", "margin", "p_equivalent", "detectable",
)  # fmt: skip


def _all_columns(asked: Sequence[tuple[Sample, float]]) -> list[dict[str, Any]]:
    return [_columns(sample, margin) for sample, margin in asked]


def _columns(sample: Sample, margin: float) -> dict[str, Any]:
    found: Comparison = compare(sample.sets[0], np.random.default_rng(0))
    fixed, again = found.these_networks, found.retraining
    values = (
        found.difference, sample.patients, sample.cases, sample.dropped, *sample.seeds, sample.left_out, sample.paired, fixed.p, fixed.low,
        fixed.high, fixed.reason, fixed.smallest_p, again.p, again.low, again.high, again.reason,
        found.rank_biserial, found.standardised,
    )  # fmt: skip
    return {**dict(zip(_COLUMNS, values, strict=False)), **decided(again, found.difference, margin)}


def _pairs(data: ReportData, scores: ArmScores) -> Iterator[tuple[Arm, str, str, Sample]]:
    """Yield all arms, roles and metrics but the baseline's student, each with what its difference to that is estimated from."""
    for arm in data.ids_by_arm:
        baseline = data.baseline_arm(arm)
        for role, metric in scores.kinds:
            itself = arm == baseline and role == STUDENT
            if not itself and scores.has(arm, role, metric) and scores.has(baseline, STUDENT, metric):
                terms = [WeightedArm(1.0, arm, role), WeightedArm(-1.0, baseline, STUDENT)]
                yield arm, role, metric, scores.sample(terms, metric)


def mean_intervals(data: ReportData, metric: str) -> dict[tuple[Arm, str, str], tuple[float, float]]:
    """Return the 95 % interval of each arm's own mean for new seeds and cases, by arm, role and region.

    Patients that a network has no value for are left out; arms without an interval are too.
    """
    found = {}
    cases = data.cases[data.cases["metric"] == metric]
    regions = cases[["id", "role", "region", "case", "value"]].astype({"region": object})
    means = data.case_means[data.case_means["metric"] == metric].assign(region=MEAN)
    both = pd.concat([regions, means[regions.columns]], ignore_index=True)
    by_patient = patient_means(both, data.trials, data.study)
    for (role, region), rows in by_patient.groupby(["role", "region"], sort=False, observed=True):
        table = rows.pivot(index="id", columns="patient", values="value")
        for arm, ids in data.ids_by_arm.items():
            own = table.loc[[id for id in ids if id in table.index]]
            interval = mean_interval(own.dropna(axis="columns").to_numpy(float))
            if not interval.reason:
                found[arm, str(role), str(region)] = (interval.low, interval.high)
    return found
