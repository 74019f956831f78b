"""The answer to a study's question in one generated sentence, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.reporting.contrast_words import contrast_text
from harness.reporting.frames import row_dicts
from harness.reporting.report_data import FIGURE_FACTORS, ReportData, with_arm_names
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.statistics.verdicts import EQUIVALENT, GAIN, LOSS, UNDECIDED
from harness.reporting.wording import UNSET, Metric, count, factor_text, metric_of, number, signed
from harness.study.names import Names, value_text

_MOST_TOLD = 4  # primary contrasts that are told one by one


def answer(data: ReportData, comparisons: pd.DataFrame, contrasts: pd.DataFrame) -> str:
    """Return the verdicts on the primary contrasts in the first metric of a report.

    Args:
        data: of the report.
        comparisons: of ``comparison_frame``.
        contrasts: of ``contrast_frame``.
    """
    if not len(data.complete):
        return "No answer yet: no trial is complete."
    if data.undeclared_differences:
        return f"No answer: trials cannot be compared, since {data.undeclared_differences[0]}"
    name = next(iter(data.study.report.metrics), "dice")
    rows = row_dicts(contrasts[(contrasts["metric"] == name) & contrasts["primary"]])
    if not rows:
        return _no_comparison(data, data.baseline)
    metric = metric_of(name)
    tested = [row for row in rows if row["verdict"]]
    if not tested:
        students = comparisons[(comparisons["metric"] == name) & (comparisons["role"] == STUDENT)]
        return _untested_answer(rows, students, metric, data)
    missing = len(rows) - len(tested)
    untold = f" {count(missing, 'contrast')} could not be tested ({_reasons(rows)})." if missing else ""
    return _tested_answer(tested, metric) + untold


def _tested_answer(rows: Sequence[dict[str, Any]], metric: Metric) -> str:
    """Return each verdict where they are few; else how many there are of each, and the largest difference that holds."""
    if len(rows) == 1:
        return f"{_told(rows[0], metric)}."
    within = " within each study" if rows[0]["study"] else ""
    head = f"{len(rows)} primary contrasts in {metric.label} for retraining (5 %, Holm-corrected{within}): "
    if len(rows) <= _MOST_TOLD:
        return head + "; ".join(_told(row, metric) for row in rows) + "."
    found = [row["verdict"] for row in rows]
    plural = {LOSS: "losses", EQUIVALENT: EQUIVALENT, UNDECIDED: UNDECIDED}
    tally = [
        count(found.count(word), word, plural.get(word, "")) for word in (GAIN, LOSS, EQUIVALENT, UNDECIDED)
    ]
    holds = [row for row in rows if row["verdict"] in (GAIN, LOSS)]
    largest = max(holds or rows, key=lambda row: abs(row["difference"]))
    which = "The largest that holds" if holds else "The largest difference, which may be chance"
    return f"{head}{', '.join(tally)}. {which}: {_told(largest, metric)}."


def _told(row: dict[str, Any], metric: Metric) -> str:
    """Return a contrast with its verdict: ``MedContext against Supervised (U-Net): loss, −0.38 …``."""
    low, high = (signed(row[f"{end}_retraining"] * metric.scale) for end in ("low", "high"))
    text = (
        f"{contrast_text(row)}: {row['verdict']}, {signed(row['difference'] * metric.scale)} {_unit(metric)} "
        f"(95 % interval {low} to {high}; {count(int(row['seeds']), 'seed')}, {_tested_on(row)}"
    )
    if row["verdict"] == UNDECIDED:
        text += f"; {number(row['detectable'] * metric.scale)} would be found four times out of five"
    return f"{text})"


def _tested_on(row: dict[str, Any]) -> str:
    """Return how many test cases there are, and of how many patients where these are fewer."""
    patients, cases = int(row["patients"]), int(row["cases"])
    of = f" of {count(patients, 'patient')}" if patients != cases else ""
    return f"{count(cases, 'test case')}{of}"


def _reasons(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(row["reason"] for row in rows if row["reason"]))


def _untested_answer(
    rows: Sequence[dict[str, Any]], students: pd.DataFrame, metric: Metric, data: ReportData
) -> str:
    """Return why there is no verdict, and the largest difference of these networks where there is one."""
    head = f"No verdict on retraining: {_reasons(rows)}."
    if not len(students):
        return head
    named = with_arm_names(students, data.study)
    largest = row_dicts(named.loc[[named["difference"].abs().idxmax()]])[0]
    which = f"The largest of {len(named)} differences" if len(named) > 1 else "The difference"
    low, high = (signed(largest[f"{end}_networks"] * metric.scale) for end in ("low", "high"))
    why = (
        f"95 % interval for new cases {low} to {high}"
        if low != UNSET
        else f"no interval: {largest['reason_networks']}"
    )
    return (
        f"{head} {which} of these networks to {data.baseline_name} is that of {_arm_text(largest, data)}: "
        f"{signed(largest['difference'] * metric.scale)} {_unit(metric)} ({why}; {count(int(largest['seeds']), 'seed')}, "
        f"{_tested_on(largest)})."
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


def _unit(metric: Metric) -> str:
    """Return the unit of a difference: percentages differ by points."""
    return f"percentage points of {metric.label}" if metric.unit == "%" else f"{metric.unit} {metric.label}"


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
