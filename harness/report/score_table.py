"""The table of a metric: regions and their mean, mean ± sd over seeds, difference to the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.report import estimates
from harness.report.estimates import MEAN, STUDENT
from harness.report.formats import Cell, Column, Table
from harness.report.frames import records
from harness.report.provenance import (
    protocol_notes,
    selection_notes,
    undeclared_differences,
    version_notes,
)
from harness.report.results import Key, Results, comparable, is_shared
from harness.report.wording import (
    UNSET,
    Metric,
    count,
    heading,
    mean_sd,
    metric_of,
    signed,
    value_text,
)

DECIMALS = 2
_FEW_REGIONS = 6  # with more of them the mean stands first


def score_table(name: str, metric_name: str, results: Results, regions: bool = True, of: str = "") -> Table:
    """Return the table of a metric: mean ± sd over seeds for each region and their mean.

    Args:
        name: of the table's files.
        metric_name: as in the records.
        results: what the study found.
        regions: whether the regions have columns beside their mean.
        of: the dataset, where the table is one of several.
    """
    scores = results.scores[results.scores["metric"] == metric_name]
    metric = metric_of(metric_name, scores["unit"].iloc[0] if len(scores) else "")
    title = f"{metric.label} ({metric.unit})" + (f", {of}" if of else "")
    differences = undeclared_differences(results.complete, results.study.factors)
    if differences:
        return _refused(name, title, differences)
    if selection_notes(results.complete):
        title += ", checkpoints selected on test cases"
    data = _score_data(results, scores, metric)
    shown = [r for r in dict.fromkeys(data["region"]) if r != MEAN] if regions else []
    columns = _Entries(results.keys, data, metric)
    rows: list[tuple[Key, str]] = [
        (arm, role) for arm in results.arms() for role in columns.roles(arm) or [UNSET]
    ]
    has_roles = any(role not in (STUDENT, UNSET) for _, role in rows)
    has_gains = bool(data["gain"].notna().any())
    groups = [comparable(results.keys, arm) for arm, _ in rows]
    spread = (MEAN, *shown) if len(shown) > _FEW_REGIONS else (*shown, MEAN)
    best = {region: _best_rows(columns, rows, groups, region) for region in spread}
    baseline = results.study.report.baseline
    lines = []
    for index, (arm, role) in enumerate(rows):
        cells = [Cell(value_text(value)) for value in arm] + ([Cell(role)] if has_roles else [])
        for region in spread:
            cells.append(Cell(columns.score(arm, role, region), bold=best[region][index]))
            if region == MEAN and has_gains:
                cells.append(Cell(columns.gain(arm, role, baseline)))
        cells += columns.counts(arm, role, results.arms()[arm])
        lines.append(tuple(cells))
    header = [Column(heading(key)) for key in results.keys] + ([Column("Role")] if has_roles else [])
    for region in spread:
        header.append(Column("Mean" if region == MEAN else region, "number"))
        if region == MEAN and has_gains:
            header.append(Column(f"vs {baseline}", "number"))
    header += [Column(text, "number") for text in ("Seeds", "Cases", "Misses")]
    return Table(
        name=name,
        title=title,
        caption=_score_caption(results, metric, has_gains),
        columns=tuple(header),
        rows=tuple(lines),
        breaks=frozenset(i for i in range(1, len(rows)) if groups[i] != groups[i - 1]),
        footnotes=_footnotes(data, metric, results),
        data=data,
    )


def _refused(name: str, title: str, differences: Sequence[str]) -> Table:
    """Return what stands in the place of a table whose cells cannot be compared."""
    return Table(
        name=name,
        title=title,
        caption="Refused: the records of its trials differ in what no factor of the study declares. Run the "
        "deviating trials again after moving their records away, or make the difference a factor.",
        columns=(Column("Difference", "prose"),),
        rows=tuple((Cell(difference),) for difference in differences),
        breaks=frozenset(),
        footnotes=(),
        data=pd.DataFrame({"refused": differences}),
        refused=True,
    )


def _score_data(results: Results, scores: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return the tidy numbers of a score table, in the recorded unit."""
    keys = list(results.keys)
    data = estimates.over_seeds(scores, keys)
    gains = estimates.gains(scores, keys, results.study.report.baseline)
    data = data.merge(gains, how="left", on=[*keys, "role", "metric", "region"])
    return data.assign(unit=metric.recorded_unit, convention="; ".join(results.conventions))


class _Entries:
    """The formatted entries of a score table, found by arm, role and region."""

    def __init__(self, keys: Sequence[str], data: pd.DataFrame, metric: Metric) -> None:
        self.metric = metric
        self._found: dict[tuple[Key, str, str], dict[str, Any]] = {}
        for row in records(data):
            self._found[tuple(row[key] for key in keys), row["role"], row["region"]] = row

    def roles(self, arm: Key) -> list[str]:
        return [role for key, role, region in self._found if key == arm and region == MEAN]

    def value(self, arm: Key, role: str, region: str) -> float:
        row = self._found.get((arm, role, region))
        return row["mean"] * self.metric.scale if row else float("nan")

    def score(self, arm: Key, role: str, region: str) -> str:
        row = self._found.get((arm, role, region))
        scale = self.metric.scale
        return mean_sd(row["mean"] * scale, row["sd"] * scale, DECIMALS) if row else UNSET

    def gain(self, arm: Key, role: str, baseline: str) -> str:
        row = self._found.get((arm, role, MEAN))
        if row is None or (role == STUDENT and row["method"] == baseline and row["gain"] == 0):
            return UNSET
        text = signed(row["gain"] * self.metric.scale, DECIMALS)
        return text if text == UNSET or row["pairs"] == row["seeds"] else f"{text} ({int(row['pairs'])})"

    def counts(self, arm: Key, role: str, planned: int) -> list[Cell]:
        """Return seeds, cases and misses."""
        row = self._found.get((arm, role, MEAN))
        seeds = row["seeds"] if row else 0
        text = f"n={seeds}" + (f" of {planned}" if seeds != planned else "")
        return [
            Cell(text),
            Cell(str(row["cases"]) if row else UNSET),
            Cell(str(row["misses"]) if row else UNSET),
        ]


def _best_rows(
    entries: _Entries, rows: Sequence[tuple[Key, str]], groups: Sequence[Key], region: str
) -> list[bool]:
    best = [False] * len(rows)
    for group in dict.fromkeys(groups):
        members = [i for i, other in enumerate(groups) if other == group]
        values = [entries.value(*rows[i], region) for i in members]
        marks = estimates.best(values, entries.metric.higher_is_better, DECIMALS)
        for i, mark in zip(members, marks, strict=True):
            best[i] = mark
    return best


def _score_caption(results: Results, metric: Metric, has_gains: bool) -> str:
    better = "higher" if metric.higher_is_better else "lower"
    convention = ", ".join(results.conventions) or "none yet"
    text = (
        f"{metric.label} in {metric.unit}, {better} is better; {metric.definition}, convention {convention}. "
        "For each trial the mean over test cases, then over regions (Mean); shown is mean ± sample standard "
        "deviation over seeds (n=1: no deviation). Bold: best printed value among comparable rows"
    )
    shared = [heading(key).lower() for key in results.keys if is_shared(key)]
    text += f" (same {' and '.join(shared)})." if shared else "."
    if has_gains:
        baseline = results.study.report.baseline
        text += f" 'vs {baseline}': difference of the means to the student of {baseline}, paired by seed."
    fixed = [
        f"{key} {value_text(results.trials[key].iloc[0])}"
        for key in ("dataset", "architecture", "shots")
        if key not in results.keys and key in results.trials and len(results.trials)
    ]
    return text + (f" Throughout: {', '.join(fixed)}." if fixed else "")


def _score_notes(data: pd.DataFrame, metric: Metric, results: Results) -> list[str]:
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


def _footnotes(data: pd.DataFrame, metric: Metric, results: Results) -> tuple[str, ...]:
    """Return cautions first, then what the columns mean, then the protocol of each dataset."""
    done, own = results.complete, _score_notes(data, metric, results)
    if not len(done):
        return (*own, "No trial is complete yet.")
    cautions = selection_notes(done) + version_notes(done)
    return (*cautions, *own, *protocol_notes(done))
