"""The table of a metric: regions and their mean, spread over seeds, gain over the baseline with its tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from harness.reporting.comparisons import TARGETS, mean_intervals
from harness.reporting.formats.table import Cell, Column, Table
from harness.reporting.frames import row_dicts
from harness.reporting.provenance import protocol_notes, version_notes
from harness.reporting.report_data import Key, ReportData, comparable
from harness.reporting.statistics import estimates
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.tables.comparisons import interval_cell, significance_notes
from harness.reporting.wording import (
    UNSET,
    Metric,
    count,
    heading,
    mean_sd,
    mean_with_interval,
    metric_of,
    signed,
    value_text,
)
from harness.study.axes import is_shared

DECIMALS = 2
_FEW_REGIONS = 6  # with more of them the mean and the gain stand first


def score_table(
    name: str,
    metric_name: str,
    results: ReportData,
    comparisons: pd.DataFrame,
    regions: bool = True,
    of: str = "",
) -> Table:
    """Return the table of a metric: mean and spread over seeds for each region and their mean, and the gain.

    Args:
        name: of the table's files.
        metric_name: as in the records.
        results: what the study found.
        comparisons: of ``comparison_frame``.
        regions: whether the regions have columns beside their mean.
        of: the dataset, where the table is one of several.
    """
    scores = results.scores[results.scores["metric"] == metric_name]
    metric = metric_of(metric_name, scores["unit"].iloc[0] if len(scores) else "")
    title = f"{metric.label} ({metric.unit})" + (f", {of}" if of else "")
    data = score_data(results, scores, metric)
    comparisons = comparisons[comparisons["metric"] == metric_name]
    entries = ScoreCells(results, data, comparisons, metric)
    shown = [r for r in dict.fromkeys(data["region"]) if r != MEAN] if regions else []
    mean_first = len(shown) > _FEW_REGIONS
    before, after = ((), shown) if mean_first else (shown, ())
    arms = results.arms()
    rows: list[tuple[Key, str]] = [(arm, role) for arm in arms for role in entries.roles(arm) or [UNSET]]
    groups = [comparable(results.keys, arm) for arm, _ in rows]
    has_roles = any(role not in (STUDENT, UNSET) for _, role in rows)
    has_gains = bool(data["gain"].notna().any())
    interval = _interval_target(comparisons) if has_gains else ""
    places = {region: _places(entries, rows, groups, region) for region in (*shown, MEAN)}
    lines = []
    for index, (arm, role) in enumerate(rows):
        cells = [Cell(value_text(value)) for value in arm] + ([Cell(role)] if has_roles else [])
        scores_of = {region: entries.score(arm, role, region, places[region][index]) for region in places}
        cells += [scores_of[region] for region in (*before, MEAN)]
        cells += [entries.gain(arm, role)] if has_gains else []
        cells += [entries.interval(arm, role, interval)] if interval else []
        cells += [scores_of[region] for region in after]
        cells += entries.counts(arm, role, arms[arm])
        lines.append(tuple(cells))
    header = [Column(heading(key)) for key in results.keys] + ([Column("Role")] if has_roles else [])
    label = f"{metric.label} ({metric.unit})"
    header += [Column(region, "number", label) for region in before] + [Column("Mean", "number", label)]
    against = f"vs {results.study.report.baseline}"
    header += [Column(metric.difference, "number", against)] if has_gains else []
    header += [Column("95 % interval", "number", against)] if interval else []
    header += [Column(region, "number", label) for region in after]
    header += [Column(text, "number") for text in ("Seeds", "Cases", "Misses")]
    return Table(
        name=name,
        title=title,
        caption=_caption(results, metric, has_gains),
        columns=tuple(header),
        rows=tuple(lines),
        breaks=frozenset(i for i in range(1, len(rows)) if groups[i] != groups[i - 1]),
        footnotes=_footnotes(data, comparisons, interval, results, entries.gain_notes() if has_gains else []),
        data=_with_comparisons(data, comparisons, results.keys),
        metric=metric_name,
    )


def _interval_target(comparisons: pd.DataFrame) -> str:
    """Return the target whose intervals are printed: retraining where any arm has them, else these networks."""
    return next((t for t in TARGETS if comparisons[f"low_{t}"].notna().any()), "")


def _with_comparisons(data: pd.DataFrame, comparisons: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the numbers of a score table with those of the tests beside the means over regions."""
    tests = comparisons.drop(columns=["metric", "cases", "seeds"]).assign(region=MEAN)
    return data.merge(tests, how="left", on=[*keys, "role", "region"]).astype({"role": object})


def score_data(results: ReportData, scores: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return the tidy numbers of a score table, in the recorded unit."""
    keys = list(results.keys)
    data = estimates.arm_means(scores, keys)
    gains = estimates.paired_gains(scores, keys, results.study.report.baseline)
    data = data.merge(gains, how="left", on=[*keys, "role", "metric", "region"])
    return data.assign(unit=metric.recorded_unit, convention="; ".join(results.conventions))


class ScoreCells:
    """The formatted entries of a metric, found by arm, role and region."""

    def __init__(
        self, results: ReportData, data: pd.DataFrame, comparisons: pd.DataFrame, metric: Metric
    ) -> None:
        self.metric = metric
        self._baseline = results.study.report.baseline
        self._spread = results.study.report.spread
        keys = results.keys
        self._found = {
            (tuple(row[key] for key in keys), row["role"], row["region"]): row for row in row_dicts(data)
        }
        self._roles: dict[Key, list[str]] = {}
        for arm, role, region in self._found:
            if region == MEAN:
                self._roles.setdefault(arm, []).append(role)
        self._tests = {(tuple(row[key] for key in keys), row["role"]): row for row in row_dicts(comparisons)}
        self._means = mean_intervals(results, metric.name) if self._spread == "interval" else {}
        self._trials = results.networks

    def roles(self, arm: Key) -> list[str]:
        """Return the roles of an arm that have scores."""
        return self._roles.get(arm, [])

    def value(self, arm: Key, role: str, region: str) -> float:
        """Return the mean over seeds in the printed unit, NaN where there is none."""
        row = self._found.get((arm, role, region))
        return row["mean"] * self.metric.scale if row else float("nan")

    def score(self, arm: Key, role: str, region: str, place: int = 0) -> Cell:
        """Return mean and spread."""
        row = self._found.get((arm, role, region))
        if row is None:
            return Cell(UNSET)
        scale, value = self.metric.scale, self.value(arm, role, region)
        text = mean_sd(value, row["sd"] * scale, DECIMALS)
        if self._spread == "interval":
            low, high = self._means.get((arm, role, region), (float("nan"),) * 2)
            text = mean_with_interval(value, low * scale, high * scale, DECIMALS)
        return Cell(text, place == 1, place == 2, "", value, self._trials[arm])

    def gain(self, arm: Key, role: str) -> Cell:
        """Return the difference to the baseline with its stars."""
        row = self._found.get((arm, role, MEAN))
        itself = row is not None and role == STUDENT and row["method"] == self._baseline and row["gain"] == 0
        if row is None or itself or math.isnan(row["gain"]):
            return Cell(UNSET)
        gain = row["gain"] * self.metric.scale
        text = signed(gain, DECIMALS) + self._tests.get((arm, role), {}).get("star", "")
        if row["pairs"] != row["seeds"]:
            text += f" ({int(row['pairs'])})"
        better = (gain > 0) == self.metric.higher_is_better
        tone = "" if round(gain, DECIMALS) == 0 else "good" if better else "bad"
        return Cell(text, tone=tone, value=gain, trials=self._trials[arm])

    def gain_notes(self) -> list[str]:
        """Return why a printed difference is not the difference that was tested, where one is not."""
        found = (self._found.get((*key, MEAN), {}).get("gain", math.nan) for key in self._tests)
        pairs = zip(found, (test["difference"] for test in self._tests.values()), strict=True)
        texts = [
            [signed(value * self.metric.scale, DECIMALS) for value in pair]
            for pair in pairs
            if pair[0] == pair[0]
        ]
        if all(gain == tested for gain, tested in texts):
            return []
        return [
            "Where seeds or values are missing, what is printed is not quite the difference that is tested: that takes all seeds, and "
            "the cases that every network has a value for (table of comparisons)."
        ]

    def interval(self, arm: Key, role: str, target: str) -> Cell:
        """Return the interval of the difference for a target."""
        row = self._tests.get((arm, role))
        return interval_cell(row, target) if row else Cell(UNSET)

    def counts(self, arm: Key, role: str, planned: int) -> list[Cell]:
        """Return seeds, cases and misses."""
        row = self._found.get((arm, role, MEAN))
        seeds = row["seeds"] if row else 0
        text = f"n={seeds}" + (f" of {planned}" if seeds != planned else "")
        numbers = [
            Cell(str(row[name]), value=row[name]) if row else Cell(UNSET) for name in ("cases", "misses")
        ]
        return [Cell(text, value=seeds), *numbers]


def _places(
    entries: ScoreCells, rows: Sequence[tuple[Key, str]], groups: Sequence[Key], region: str
) -> list[int]:
    """Return which rows are best (1) and second best (2) of those that they can be compared with."""
    found = [0] * len(rows)
    members: dict[Key, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    for indices in members.values():
        values = [entries.value(*rows[i], region) for i in indices]
        marks = estimates.best_two(values, entries.metric.higher_is_better, DECIMALS)
        for i, mark in zip(indices, marks, strict=True):
            found[i] = mark
    return found


def _caption(results: ReportData, metric: Metric, has_gains: bool) -> str:
    better = "higher" if metric.higher_is_better else "lower"
    convention = ", ".join(results.conventions) or "none yet"
    spread = {"sd": "± sample standard deviation over seeds (n=1: no deviation)",
              "interval": "[95 % interval for new seeds and cases, where they are enough]"}  # fmt: skip
    text = (
        f"{metric.label} in {metric.unit}, {better} is better; {metric.definition}, convention {convention}. "
        f"For each trial the mean over test cases, then over regions (Mean); shown is mean "
        f"{spread[results.study.report.spread]}. Bold: best printed value among comparable rows"
    )
    shared = [heading(key).lower() for key in results.keys if is_shared(key)]
    text += f" (same {' and '.join(shared)})" if shared else ""
    text += "; underlined: second best."
    if has_gains:
        baseline = results.study.report.baseline
        better = "" if metric.higher_is_better else "; below zero is better"
        text += f" {metric.difference}: of the means to those of the student of {baseline}, paired by seed{better}."
    fixed = [
        f"{key} {value_text(results.trials[key].iloc[0])}"
        for key in ("dataset", "architecture", "shots")
        if key not in results.keys and key in results.trials and len(results.trials)
    ]
    return text + (f" Throughout: {', '.join(fixed)}." if fixed else "")


def _score_notes(data: pd.DataFrame, results: ReportData) -> list[str]:
    notes = [
        "Seeds: trials with a value, of those planned. Cases: test cases. Misses: rows of all regions and seeds "
        "in which one of prediction and reference is empty; they count as Dice 0, or as the convention's "
        "largest distance."
    ]
    nothing = data[(data["region"] != MEAN) & (data["uncounted"] > 0)]
    if len(nothing):
        total = int(nothing["uncounted"].sum())
        by_region = nothing.groupby("region", sort=False)["uncounted"].sum()
        parts = ", ".join(f"{region} {int(n)}" for region, n in by_region.items())
        notes.append(
            f"Not counted: {count(total, 'value')} where prediction and reference are both empty ({parts})."
        )
    fewer = data[(data["region"] == MEAN) & data["gain"].notna() & (data["pairs"] < data["seeds"])]
    if len(fewer):
        notes.append("A number in brackets after a difference: how many seeds both arms have, where fewer.")
    undone = results.trials[results.trials["status"] != "complete"]
    if len(undone):
        parts = ", ".join(f"{n} {status}" for status, n in undone["status"].value_counts().items())
        notes.append(f"Not in this table: {count(len(undone), 'planned trial')} ({parts}).")
    return notes


def _footnotes(
    data: pd.DataFrame, comparisons: pd.DataFrame, interval: str, results: ReportData, gain_notes: list[str]
) -> tuple[str, ...]:
    """Return cautions first, then what the columns mean, then the protocol of each dataset."""
    done, own = results.complete, _score_notes(data, results)
    if not len(done):
        return (*own, "No trial is complete yet.")
    tests = significance_notes(comparisons, interval) + gain_notes
    return (*version_notes(done), *tests, *own, *protocol_notes(done))
