"""The answer to a study's question in one generated sentence, with its interval."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.reporting.comparisons import TARGETS
from harness.reporting.frames import row_dicts
from harness.reporting.report_data import FIGURE_FACTORS, ReportData, with_arm_names
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.statistics.significance import LEVEL
from harness.reporting.tables.comparisons import TARGET_WORDS
from harness.reporting.wording import UNSET, Metric, count, factor_text, metric_of, signed
from harness.study.names import Names, value_text


def answer(data: ReportData, comparisons: pd.DataFrame) -> str:
    """Return what the report is made from of its first metric, for students, against the baseline.

    Args:
        data: of the report.
        comparisons: of ``comparison_frame``.
    """
    baseline = data.baseline_name
    if not len(data.complete):
        return "No answer yet: no trial is complete."
    if data.undeclared_differences:
        return f"No answer: trials cannot be compared, since {data.undeclared_differences[0]}"
    name = next(iter(data.study.report.metrics), "dice")
    rows = comparisons[(comparisons["metric"] == name) & (comparisons["role"] == STUDENT)]
    if not len(rows):
        return _no_comparison(data, data.baseline)
    metric = metric_of(name)
    target = next((t for t in TARGETS if rows[f"p_{t}"].notna().any()), "")
    if not target:
        return _untested_answer(rows, metric, baseline)
    tested = with_arm_names(rows[rows[f"p_{target}"].notna()], data.study)
    missing = len(rows) - len(tested)
    untold = f" {count(missing, 'comparison')} could not be tested." if missing else ""
    return _tested_answer(tested, metric, target, data) + untold


def _tested_answer(tested: pd.DataFrame, metric: Metric, target: str, data: ReportData) -> str:
    """Return how many differences hold, and the largest one that holds; where none does, the largest of all."""
    baseline, aim = data.baseline_name, TARGET_WORDS[target]
    holds = tested[f"holm_{target}"] < LEVEL
    better = (tested["difference"] > 0) == metric.higher_is_better
    named = tested[holds] if holds.any() else tested
    largest = row_dicts(named.loc[[named["difference"].abs().idxmax()]])[0]
    arm, difference = _arm_text(largest, data), _difference(largest, metric, target)
    if len(tested) == 1:
        verdict = "is better than" if better.iloc[0] else "is worse than"
        verdict = verdict if holds.iloc[0] else "shows no significant difference to"
        return f"{arm} {verdict} {baseline} for {aim}: {difference}."
    among = f"{len(tested)} comparisons with {baseline} in {metric.label}"
    if not holds.any():
        return (
            f"None of {among} holds for {aim} (5 %, Holm-corrected). The largest difference, which may be chance, is that "
            f"of {arm}: {difference}."
        )
    gains, losses = int((holds & better).sum()), int((holds & ~better).sum())
    return (
        f"Of {among}, {count(gains, 'gain')} and {count(losses, 'loss', 'losses')} hold for {aim} (5 %, Holm-corrected). The "
        f"largest difference that holds is that of {arm}: {difference}."
    )


def _no_comparison(data: ReportData, baseline: str) -> str:
    """Return why there is no comparison: some arm has still to be trained, or none can ever be compared."""
    arms = data.planned_arms
    if all(cell.factors["method"] != baseline for cell in data.study.cells):
        return (
            f"No comparison: no arm is called {baseline}. "
            "Name the arm to compare with as report.baseline in the study's file."
        )
    references = [data.baseline_arm(arm) for arm in arms]
    if len(arms) > 1 and all(
        key == arm or key not in arms for key, arm in zip(references, arms, strict=True)
    ):
        return (
            f"No comparison: no arm differs from one of {baseline} in its method alone. "
            "Name another arm as report.baseline in the study's file, or declare such arms."
        )
    return f"No comparison yet: no other arm has complete trials beside those of {baseline}."


def _difference(row: dict[str, Any], metric: Metric, target: str) -> str:
    low, high = (signed(row[f"{end}_{target}"] * metric.scale) for end in ("low", "high"))
    return (
        f"{signed(row['difference'] * metric.scale)} {_unit(metric)}, 95 % interval [{low}, {high}], "
        f"{count(row['seeds'], 'seed')}, {count(row['cases'], 'test case')}"
    )


def _unit(metric: Metric) -> str:
    """Return the unit of a difference: percentages differ by points."""
    return f"percentage points of {metric.label}" if metric.unit == "%" else f"{metric.unit} {metric.label}"


def _untested_answer(rows: pd.DataFrame, metric: Metric, baseline: str) -> str:
    """Return the differences where the cases are too few for any interval."""
    gains = rows["difference"] * metric.scale
    span = signed(gains.min()) if len(rows) == 1 else f"{signed(gains.min())} to {signed(gains.max())}"
    reasons = ", ".join(dict.fromkeys(rows["reason_networks"]))
    return (
        f"No answer that statistics support: {count(len(rows), 'difference')} to {baseline} of {span} "
        f"{_unit(metric)}, without interval ({reasons})."
    )


def _arm_text(row: dict[str, Any], data: ReportData) -> str:
    """Return an arm as figures name it, and its panel: ``MedContext, mask ratio 0.4 (5 training cases, U-Net)``."""
    places = [
        _place(key, row[key], data.names)
        for key in data.keys
        if key in FIGURE_FACTORS and key != "method" and row[key] != UNSET
    ]
    return row["arm"] + (f" ({', '.join(places)})" if places else "")


def _place(key: str, value: Any, names: Names) -> str:
    return f"subset {value_text(value)}" if key == "subset" else factor_text(names, key, value)
