"""The table of a metric: regions and their mean, spread over seeds, gain over the baseline with its tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from harness.reporting.comparisons import NETWORKS_STAR, TARGETS, mean_intervals
from harness.reporting.formats.table import Cell, Column, Table, breaks_between, factor_cells, factor_columns
from harness.reporting.frames import row_dicts
from harness.reporting.provenance import version_notes
from harness.reporting.report_data import Arm, ReportData
from harness.reporting.statistics import estimates
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.statistics.verdicts import TONES
from harness.reporting.tables.comparisons import interval_cell, significance_notes
from harness.reporting.wording import (
    UNSET,
    Metric,
    count,
    mean_sd,
    mean_with_interval,
    metric_of,
    signed,
)
from harness.study.file import FALSE_POSITIVES

DECIMALS = 2
_FEW_REGIONS = 6  # with more of them the mean and the gain stand first


def score_table(
    name: str,
    metric_name: str,
    data: ReportData,
    comparisons: pd.DataFrame,
    regions: bool = True,
    of: str = "",
) -> Table:
    """Return the table of a metric: mean and spread over seeds for each region and their mean, and the gain.

    Args:
        name: of the table's files.
        metric_name: as in the records.
        data: of the report.
        comparisons: of ``comparison_frame``.
        regions: whether the regions have columns beside their mean.
        of: the dataset, where the table is one of several.
    """
    cells = ScoreCells(data, metric_name, comparisons)
    metric, numbers = cells.metric, cells.numbers
    rows = [(arm, role) for arm in data.planned_arms for role in cells.roles(arm) or [UNSET]]
    groups = [data.comparison_group(arm) for arm, _ in rows]
    has_gains = bool(numbers["gain"].notna().any())
    interval = _interval_target(cells.comparisons) if has_gains else ""
    label = f"{metric.label} ({metric.unit})"
    scores_of = partial(_score_column, cells, rows, [data.rivals(arm) for arm, _ in rows])

    by_region = [scores_of(one) for one in dict.fromkeys(numbers["region"]) if one != MEAN and regions]
    totals = [scores_of(MEAN), *_gain_columns(cells, rows, f"vs {data.baseline_name}", has_gains, interval)]
    factors = [factor_cells(data.names, data.named(arm)) for arm, _ in rows]
    columns = totals + by_region if len(by_region) > _FEW_REGIONS else by_region + totals
    if any(role not in (STUDENT, UNSET) for _, role in rows):
        columns.insert(0, (Column("Role"), [Cell(role) for _, role in rows]))
    return Table(
        name=name,
        title=label + (f", {data.names.value('dataset', of)}" if of else ""),
        caption=_caption(data, metric, has_gains),
        columns=(
            *factor_columns(data.names, data.keys),
            *(column for column, _ in columns),
            *(
                Column(text, "number", part=text.lower())
                for text in ("Seeds", *(["Folds"] if data.is_folded else []), "Cases", "Misses")
            ),
        ),
        rows=tuple(
            (*named, *(own[index] for _, own in columns), *cells.counts(arm, role))
            for index, (named, (arm, role)) in enumerate(zip(factors, rows, strict=True))
        ),
        data=_with_tests(numbers, cells.comparisons, data.keys),
        breaks=breaks_between(groups),
        footnotes=_footnotes(data, cells, interval, has_gains),
        protocol=data.protocol_notes,
        metric=metric_name,
    ).with_parts(data.study.report.columns)


def _score_column(
    cells: ScoreCells, rows: Sequence[tuple[Arm, str]], groups: Sequence[Arm], region: str
) -> tuple[Column, list[Cell]]:
    metric = cells.metric
    places = best_in_groups([cells.merit(*row, region) for row in rows], groups)
    scores = [cells.score(*row, region, place) for row, place in zip(rows, places, strict=True)]
    heading = "Mean" if region == MEAN else cells.names.region(region)
    part = "mean" if region == MEAN else "regions"
    return Column(heading, "number", f"{metric.label} ({metric.unit})", part), scores


def _gain_columns(
    cells: ScoreCells, rows: Sequence[tuple[Arm, str]], against: str, has_gains: bool, interval: str
) -> Iterator[tuple[Column, list[Cell]]]:
    """Yield the column of differences to the baseline, and that of their intervals, where there are any."""
    if has_gains:
        heading = Column(cells.metric.difference, "number", against, "gain")
        yield heading, [cells.gain(*row) for row in rows]
    if interval:
        heading = Column("95 % interval", "number", against, "interval")
        yield heading, [cells.interval(*row, interval) for row in rows]


def _interval_target(comparisons: pd.DataFrame) -> str:
    """Return the target whose intervals are printed: retraining where any arm has them, else these networks."""
    return next((t for t in TARGETS if comparisons[f"low_{t}"].notna().any()), "")


def _with_tests(numbers: pd.DataFrame, comparisons: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the numbers of a score table, with the tests in the rows of means over regions."""
    tests = comparisons.drop(columns=["metric", "cases", "seeds"]).assign(region=MEAN)
    return numbers.merge(tests, how="left", on=[*keys, "role", "region"]).astype({"role": object})


class ScoreCells:
    """The formatted scores of a metric, found by arm, role and region.

    Attributes:
        names: for print.
        metric: how it is shown.
        numbers: the tidy numbers, in the recorded unit.
        comparisons: of this metric.
    """

    def __init__(self, data: ReportData, metric_name: str, comparisons: pd.DataFrame | None = None) -> None:
        scores = data.scores[data.scores["metric"] == metric_name]
        if comparisons is None:
            comparisons = pd.DataFrame(columns=[*data.keys, "role", "metric"])
        self.names = data.names
        self.metric = metric_of(metric_name, scores["unit"].iloc[0] if len(scores) else "")
        self.numbers = _numbers(data, scores, self.metric)
        self.comparisons = comparisons[comparisons["metric"] == metric_name]
        self._data = data
        self._rows = {(data.arm_of(row), row["role"], row["region"]): row for row in row_dicts(self.numbers)}
        self._roles: dict[Arm, list[str]] = {}
        for arm, role, region in self._rows:
            if region == MEAN:
                self._roles.setdefault(arm, []).append(role)
        self._tests = {(data.arm_of(row), row["role"]): row for row in row_dicts(self.comparisons)}
        self._intervals = (
            mean_intervals(data, metric_name) if data.study.report.spread == "interval" else None
        )

    def roles(self, arm: Arm) -> list[str]:
        """Return the roles of an arm that have scores."""
        return self._roles.get(arm, [])

    def value(self, arm: Arm, role: str, region: str) -> float:
        """Return the mean over seeds in the printed unit, NaN where there is none."""
        row = self._rows.get((arm, role, region))
        return row["mean"] * self.metric.scale if row else math.nan

    def merit(self, arm: Arm, role: str, region: str) -> float:
        """Return the value, or minus the value where lower is better."""
        value = self.value(arm, role, region)
        return value if self.metric.higher_is_better else -value

    def score(self, arm: Arm, role: str, region: str, place: int = 0) -> Cell:
        """Return mean and spread; the first ``place`` is bold, the second underlined."""
        row = self._rows.get((arm, role, region))
        if row is None:
            return Cell(UNSET)
        scale, value = self.metric.scale, self.value(arm, role, region)
        if self._intervals is None:
            text = mean_sd(value, row["sd"] * scale, DECIMALS)
        else:
            low, high = self._intervals.get((arm, role, region), (math.nan, math.nan))
            text = mean_with_interval(value, low * scale, high * scale, DECIMALS)
        return Cell(text, place == 1, place == 2, value=value, trials=self._data.trials_of(arm))

    def gain(self, arm: Arm, role: str) -> Cell:
        """Return the difference to the baseline with its stars."""
        row = self._rows.get((arm, role, MEAN))
        if row is None or math.isnan(row["gain"]):
            return Cell(UNSET)
        if role == STUDENT and row["method"] == self._data.baseline and row["gain"] == 0:
            return Cell(UNSET)  # the baseline itself
        gain, test = row["gain"] * self.metric.scale, self._tests.get((arm, role), {})
        text = signed(gain, DECIMALS) + _star(test)
        if row["pairs"] != row["seeds"]:
            text += f" ({int(row['pairs'])})"
        tone = TONES.get(test.get("verdict", ""), "")
        return Cell(text, tone=tone, value=gain, trials=self._data.trials_of(arm))

    def gain_notes(self) -> list[str]:
        """Return why a printed difference is not the tested one, where one is not."""
        for key, test in self._tests.items():
            printed = self._rows.get((*key, MEAN), {}).get("gain", math.nan) * self.metric.scale
            tested = test["difference"] * self.metric.scale
            if not math.isnan(printed) and signed(printed, DECIMALS) != signed(tested, DECIMALS):
                return [
                    "What is printed is not quite the difference that is tested where seeds or values are missing, or patients have several cases: that takes "
                    "the seeds that both arms have, and the patients that every network has a value for, each once (table of comparisons)."
                ]
        return []

    def interval(self, arm: Arm, role: str, target: str) -> Cell:
        """Return the interval of the difference for a target."""
        row = self._tests.get((arm, role))
        return interval_cell(row, target) if row else Cell(UNSET)

    def counts(self, arm: Arm, role: str) -> list[Cell]:
        """Return seeds, the folds of one where there are any, cases and misses."""
        row, planned = self._rows.get((arm, role, MEAN)), self._data.planned_arms[arm]
        seeds = row["seeds"] if row else 0
        text = f"n={seeds}" + (f" of {planned}" if seeds != planned else "")
        others = [
            Cell(str(row[name]), value=row[name]) if row else Cell(UNSET) for name in ("cases", "misses")
        ]
        folds = self._data.folds_by_arm[arm]
        of_seed = [Cell(str(folds), value=folds)] if self._data.is_folded else []
        return [Cell(text, value=seeds), *of_seed, *others]


def _star(test: Mapping[str, Any]) -> str:
    """Return the stars of a test; that of these networks alone where retraining is not tested."""
    star = str(test.get("star", ""))
    return star if math.isnan(test.get("p_retraining", math.nan)) else star.replace(NETWORKS_STAR, "")


def _numbers(data: ReportData, scores: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return the tidy numbers of a metric, in the recorded unit."""
    keys = list(data.keys)
    means = estimates.arm_means(scores, keys)
    gains = estimates.paired_gains(scores, keys, data.baseline)
    numbers = means.merge(gains, how="left", on=[*keys, "role", "metric", "region"])
    return numbers.assign(unit=metric.recorded_unit, convention="; ".join(data.conventions))


def best_in_groups(values: Sequence[float], groups: Sequence[Any]) -> list[int]:
    """Return 1 for the largest value of each group as printed, 2 for the second largest, 0 for the others."""
    found = [0] * len(values)
    places_of: dict[Any, list[int]] = {}
    for place, group in enumerate(groups):
        places_of.setdefault(group, []).append(place)
    for members in places_of.values():
        places = estimates.best_two([values[i] for i in members], DECIMALS)
        for i, place in zip(members, places, strict=True):
            found[i] = place
    return found


def _caption(data: ReportData, metric: Metric, has_gains: bool) -> str:
    better = "higher" if metric.higher_is_better else "lower"
    convention = ", ".join(data.conventions) or "none yet"
    spread = {"sd": "± sample standard deviation over seeds (n=1: no deviation)",
              "interval": "[95 % interval for new seeds and cases, where they are enough]"}  # fmt: skip
    text = (
        f"{metric.label} in {metric.unit}, {better} is better; {metric.definition}, convention {convention}. "
        f"For each {'seed' if data.is_folded else 'trial'} the mean over test cases, then over regions (Mean); shown is mean "
        f"{spread[data.study.report.spread]}. Bold: best printed value among comparable rows"
    )
    shared = [data.names.factor(key).lower() for key in data.rival_keys]
    text += f" (same {' and '.join(shared)})" if shared else ""
    text += "; underlined: second best."
    if has_gains:
        baseline = data.baseline_name
        better = "" if metric.higher_is_better else "; below zero is better"
        text += f" {metric.difference}: of the means to those of the student of {baseline}, paired by seed{better}."
    fixed = [
        f"{data.names.factor(key).lower()} {data.names.value(key, data.trials[key].iloc[0])}"
        for key in ("dataset", "architecture", "shots")
        if key not in data.keys and key in data.trials and len(data.trials)
    ]
    return text + (f" Throughout: {', '.join(fixed)}." if fixed else "")


def _footnotes(data: ReportData, cells: ScoreCells, interval: str, has_gains: bool) -> tuple[str, ...]:
    """Return cautions first, then what the columns mean."""
    done, own = data.complete, _score_notes(data, cells.numbers, cells.metric.name)
    if not len(done):
        return (*own, "No trial is complete yet.")
    tests = significance_notes(cells.comparisons, interval) + (cells.gain_notes() if has_gains else [])
    return (*version_notes(done), *tests, *own)


def _score_notes(data: ReportData, numbers: pd.DataFrame, metric: str) -> list[str]:
    counted = (
        "Cases: test cases. Misses: rows of all regions and seeds in which one of prediction and reference is empty; they count as "
        "Dice 0, or as the convention's largest distance."
    )
    if metric == FALSE_POSITIVES:
        counted = "Cases: test cases that lack a region. Misses: the false positives themselves, of all regions and seeds."
        counted += "" if len(numbers) else " No test case lacks a region, so that there are none."
    notes = [
        *data.fold_notes,
        f"Seeds: {'those' if data.is_folded else 'trials'} with a value, of those planned. {counted}",
    ]
    nothing = numbers[(numbers["region"] != MEAN) & (numbers["uncounted"] > 0)]
    if len(nothing):
        total = int(nothing["uncounted"].sum())
        by_region = nothing.groupby("region", sort=False)["uncounted"].sum()
        parts = ", ".join(f"{data.names.region(region)} {int(n)}" for region, n in by_region.items())
        notes.append(
            f"Not counted: {count(total, 'value')} where prediction and reference are both empty ({parts})."
        )
    fewer = numbers[
        (numbers["region"] == MEAN) & numbers["gain"].notna() & (numbers["pairs"] < numbers["seeds"])
    ]
    if len(fewer):
        notes.append("A number in brackets after a difference: how many seeds both arms have, where fewer.")
    undone = data.trials[data.trials["status"] != "complete"]
    if len(undone):
        parts = ", ".join(f"{n} {status}" for status, n in undone["status"].value_counts().items())
        notes.append(f"Not in this table: {count(len(undone), 'planned trial')} ({parts}).")
    return notes
