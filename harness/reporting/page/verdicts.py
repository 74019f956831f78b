"""What the page says first: the primary contrasts, then each arm against the baseline, as lines of a forest plot with verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from harness.reporting.comparisons import TARGETS
from harness.reporting.contrast_words import line_name
from harness.reporting.contrasts import studies_with_contrasts
from harness.reporting.frames import row_dicts
from harness.reporting.report_data import FIGURE_FACTORS, ReportData, with_arm_names
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.statistics.significance import LEVEL
from harness.reporting.statistics.verdicts import TONES
from harness.reporting.tables.comparisons import TARGET_WORDS
from harness.reporting.wording import UNSET, factor_text, metric_of, signed

MOST_VERDICTS = 48
PRIMARY = "Primary contrasts"
_FAR = 5.0  # times the median reach, beyond which an interval is cut off
_EDGE = 96.0  # per cent of half an axis that the widest interval takes


@dataclass(frozen=True)
class Verdict:
    """One comparison; places are per cent of the axis, 50 where there is no difference.

    Attributes:
        arm: its name.
        text: the difference with its interval.
        word: of ``statistics.verdicts``, or ``not tested``.
        tone: ``good`` for a gain, ``bad`` for a loss.
        at: of the difference.
        low, high: of the interval; None where there is none.
        new_seeds: whether the interval is for retraining, and not for these networks alone.
    """

    arm: str
    text: str
    word: str
    tone: str
    at: float
    low: float | None
    high: float | None
    new_seeds: bool


@dataclass(frozen=True)
class Verdicts:
    """The comparisons of a metric by what their panels have in common; ``limit`` is where the axis ends."""

    title: str
    limit: str
    note: str
    groups: tuple[tuple[str, tuple[Verdict, ...]], ...]


def verdicts(data: ReportData, comparisons: pd.DataFrame, contrasts: pd.DataFrame) -> Verdicts | None:
    """Return the primary contrasts and the comparisons of students in the first metric, or None where there are none.

    Args:
        data: of the report.
        comparisons: of ``comparison_frame``.
        contrasts: of ``contrast_frame``.
    """
    name = next(iter(data.study.report.metrics), "dice")
    rows = comparisons[(comparisons["metric"] == name) & (comparisons["role"] == STUDENT)]
    primary = _primary(data, contrasts[contrasts["metric"] == name])
    if (not len(rows) and not primary) or data.undeclared_differences:
        return None
    metric = metric_of(name)
    shown = row_dicts(with_arm_names(rows, data.study))[: MOST_VERDICTS - len(primary)]
    limit = _limit([_numbers(row, metric.scale) for row in (*primary, *shown)])
    groups: dict[str, list[Verdict]] = {}
    for row in (*primary, *shown):
        panel = row["panel"] if "panel" in row else _panel(row, data)
        groups.setdefault(panel, []).append(_verdict(row, metric.scale, limit))
    unit = "points" if metric.unit == "%" else metric.unit
    better = "" if metric.higher_is_better else ", below zero is better"
    left = len(rows) - len(shown)
    return Verdicts(
        title=f"{metric.label}: difference to {data.baseline_name} in {unit}{better}",
        limit=f"{limit:.2g}",
        note=_note([*primary, *shown]) + (f" {left} more are in the table of tests." if left else ""),
        groups=tuple((panel, tuple(own)) for panel, own in groups.items()),
    )


def _primary(data: ReportData, contrasts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the primary contrasts as lines, and below one of several datasets a line for each of them.

    There are none where each is one arm against the baseline, which has a line already.
    """
    rows, pooled = [], False
    for row in row_dicts(contrasts[contrasts["difference"].notna()]):
        of_dataset = isinstance(row["dataset"], str)
        pooled = bool(row["primary"]) or (of_dataset and pooled)
        if pooled:
            rows.append({**row, "arm": line_name(data.names, row)})
    studies = studies_with_contrasts(data)
    declared = any(spec.primary for one in studies for spec in one.study.report.contrasts)
    if not declared and all(row["levels"] == 1 for row in rows):
        return []
    lacking = {"p_networks": math.nan, "low_networks": math.nan, "high_networks": math.nan}
    return [{**row, **lacking, "panel": PRIMARY} for row in rows][:MOST_VERDICTS]


def _note(rows: Sequence[dict[str, Any]]) -> str:
    """Return what a verdict and a line mean, as far as they occur."""
    targets = dict.fromkeys(filter(None, map(_target, rows)))
    if not targets:
        return "Too few seeds and cases for any test."
    aims = " or, in grey, ".join(f"for {TARGET_WORDS[target]}" for target in targets)
    note = f"Lines: 95 % interval {aims}."
    if TARGETS[0] not in targets:
        return f"No verdict on retraining: too few seeds or cases. {note}"
    if any(row.get("panel") == PRIMARY for row in rows):
        note = f"Single arms are exploratory. {note}"
    disagree = [f"{100 * row['i_squared']:.0f} %" for row in rows if row.get("i_squared", math.nan) >= 0]
    if disagree:
        note += f" {UNSET}: on each dataset, exploratory; I², how much these disagree beyond chance: {', '.join(disagree)}."
    return f"Gain, loss, equivalent, undecided: at {LEVEL * 100:g} % after Holm's correction, see the notes below the tests. {note}"


def _target(row: dict[str, Any]) -> str:
    """Return what a row is tested for: retraining where it can be, else these networks on new cases."""
    return next((target for target in TARGETS if not math.isnan(row[f"p_{target}"])), "")


def _numbers(row: dict[str, Any], scale: float) -> tuple[float, float, float]:
    """Return the difference and the ends of its interval in the printed unit, NaN where there is none."""
    target = _target(row) or TARGETS[0]
    difference, low, high = (row[key] * scale for key in ("difference", f"low_{target}", f"high_{target}"))
    return difference, low, high


def _limit(numbers: Sequence[tuple[float, float, float]]) -> float:
    """Return where the axis ends: at the widest interval that is not far wider than most."""
    reach = [max(abs(value) for value in one if not math.isnan(value)) for one in numbers]
    near = [value for value in reach if value <= _FAR * median(reach)]
    return max(near) or 1.0


def _verdict(row: dict[str, Any], scale: float, limit: float) -> Verdict:
    difference, low, high = _numbers(row, scale)
    word = row["verdict"] or "not tested"
    interval = "" if math.isnan(low) else f" ({signed(low)} to {signed(high)})"
    ends = [None if math.isnan(end) else _place(end, limit) for end in (low, high)]
    return Verdict(
        arm=str(row["arm"]), text=signed(difference) + interval, word=word, tone=TONES.get(word, ""),
        at=_place(difference, limit), low=ends[0], high=ends[1], new_seeds=_target(row) == TARGETS[0],
    )  # fmt: skip


def _place(value: float, limit: float) -> float:
    share = max(-1.0, min(1.0, value / limit))
    return round(50 + share * _EDGE / 2, 2)


def _panel(row: dict[str, Any], data: ReportData) -> str:
    """Return what tells a row's panel from others: ``5 training cases, U-Net``."""
    keys = [key for key in data.keys if key in FIGURE_FACTORS and key != "method" and row[key] != UNSET]
    return ", ".join(factor_text(data.names, key, row[key]) for key in keys)
