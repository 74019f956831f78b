"""What the page says first: each arm against the baseline, as a line of a forest plot with a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from harness.reporting.comparisons import TARGETS
from harness.reporting.frames import row_dicts
from harness.reporting.report_data import FIGURE_FACTORS, ReportData, with_arm_names
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.statistics.significance import LEVEL
from harness.reporting.tables.comparisons import TARGET_WORDS
from harness.reporting.wording import UNSET, factor_text, metric_of, signed

MOST_VERDICTS = 48
_FAR = 5.0  # times the median reach, beyond which an interval is cut off
_EDGE = 96.0  # per cent of half an axis that the widest interval takes


@dataclass(frozen=True)
class Verdict:
    """One comparison; places are per cent of the axis, 50 where there is no difference.

    Attributes:
        arm: its name.
        text: the difference with its interval.
        word: ``better``, ``worse``, ``not shown`` or ``not tested``.
        tone: ``good`` or ``bad`` where the difference holds.
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


def verdicts(data: ReportData, comparisons: pd.DataFrame) -> Verdicts | None:
    """Return the comparisons of students in the first metric, or None where there are none.

    Args:
        data: of the report.
        comparisons: of ``comparison_frame``.
    """
    name = next(iter(data.study.report.metrics), "dice")
    rows = comparisons[(comparisons["metric"] == name) & (comparisons["role"] == STUDENT)]
    if not len(rows) or data.undeclared_differences:
        return None
    metric = metric_of(name)
    shown = row_dicts(with_arm_names(rows, data.study))[:MOST_VERDICTS]
    limit = _limit([_numbers(row, metric.scale) for row in shown])
    groups: dict[str, list[Verdict]] = {}
    for row in shown:
        found = _verdict(row, metric.scale, limit, metric.higher_is_better)
        groups.setdefault(_panel(row, data), []).append(found)
    unit = "points" if metric.unit == "%" else metric.unit
    better = "" if metric.higher_is_better else ", below zero is better"
    left = len(rows) - len(shown)
    return Verdicts(
        title=f"{metric.label}: difference to {data.baseline_name} in {unit}{better}",
        limit=f"{limit:.2g}",
        note=_note(shown) + (f" {left} more are in the table of tests." if left else ""),
        groups=tuple((panel, tuple(own)) for panel, own in groups.items()),
    )


def _note(rows: Sequence[dict[str, Any]]) -> str:
    """Return what a verdict and a line mean, as far as they occur."""
    targets = dict.fromkeys(filter(None, map(_target, rows)))
    if not targets:
        return "Too few seeds and cases for any test."
    aims = " or, in grey, ".join(f"for {TARGET_WORDS[target]}" for target in targets)
    return f"Better, worse: p < {LEVEL} after Holm's correction. Lines: 95 % interval {aims}."


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


def _verdict(row: dict[str, Any], scale: float, limit: float, higher_is_better: bool) -> Verdict:
    difference, low, high = _numbers(row, scale)
    target = _target(row)
    holds = bool(target) and row[f"holm_{target}"] < LEVEL
    better = (difference > 0) == higher_is_better
    word = ("better" if better else "worse") if holds else "not shown" if target else "not tested"
    interval = "" if math.isnan(low) else f" ({signed(low)} to {signed(high)})"
    ends = [None if math.isnan(end) else _place(end, limit) for end in (low, high)]
    return Verdict(
        arm=str(row["arm"]), text=signed(difference) + interval, word=word,
        tone=("good" if better else "bad") if holds else "", at=_place(difference, limit),
        low=ends[0], high=ends[1], new_seeds=target == TARGETS[0],
    )  # fmt: skip


def _place(value: float, limit: float) -> float:
    share = max(-1.0, min(1.0, value / limit))
    return round(50 + share * _EDGE / 2, 2)


def _panel(row: dict[str, Any], data: ReportData) -> str:
    """Return what tells a row's panel from others: ``5 training cases, U-Net``."""
    keys = [key for key in data.keys if key in FIGURE_FACTORS and key != "method" and row[key] != UNSET]
    return ", ".join(factor_text(data.names, key, row[key]) for key in keys)
