"""Tables that a study declares: any factors, metrics, regions and roles as rows and columns, with grouped headers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pandas as pd

from harness.reporting.formats.table import Cell, Column, Table
from harness.reporting.frames import row_dicts
from harness.reporting.provenance import protocol_notes, version_notes
from harness.reporting.report_data import Key, ReportData, comparable, value_order
from harness.reporting.statistics import estimates
from harness.reporting.statistics.estimates import MEAN
from harness.reporting.tables.comparisons import significance_notes
from harness.reporting.tables.cost import COSTS, cost_cell
from harness.reporting.tables.scores import DECIMALS, ScoreCells, score_data
from harness.reporting.wording import UNSET, heading, metric_of, shots_text, value_text
from harness.study.axes import SCORED, check_axes
from harness.study.file import TableSpec


def pivot_table(spec: TableSpec, results: ReportData, comparisons: pd.DataFrame) -> Table:
    """Return a declared table.

    Args:
        spec: what the study declares.
        results: what the study found.
        comparisons: of ``comparison_frame``.

    Raises:
        UserError: a row or column that is no factor, or a factor that varies and is in neither.
    """
    check_axes(results.study.name, spec, results.keys)
    title = spec.title or spec.name.replace("_", " ").capitalize()
    return _Pivot(spec, results, comparisons).table(title)


class _Pivot:
    """A declared table in the making."""

    def __init__(self, spec: TableSpec, results: ReportData, comparisons: pd.DataFrame) -> None:
        self.spec, self.results, self.comparisons = spec, results, comparisons
        self.entries = {name: self._entries(name) for name in spec.metrics}
        self.arms = results.arms()
        self.rows = self._combinations(spec.rows)
        self.columns = self._combinations(spec.columns)
        self.costs = {
            tuple(row[key] for key in results.keys): row
            for row in row_dicts(estimates.arm_costs(results.trials, results.keys))
        }

    def _entries(self, metric: str) -> ScoreCells:
        scores = self.results.scores[self.results.scores["metric"] == metric]
        shown = metric_of(metric, scores["unit"].iloc[0] if len(scores) else "")
        own = self.comparisons[self.comparisons["metric"] == metric]
        return ScoreCells(self.results, score_data(self.results, scores, shown), own, shown)

    def _combinations(self, axis: Sequence[str]) -> list[dict[str, Any]]:
        """Return the values of an axis that planned arms have, with all metrics, regions and roles."""
        keys = self.results.keys
        factors = [key for key in axis if key not in SCORED]
        seen = dict.fromkeys(
            tuple(dict(zip(keys, arm, strict=True))[key] for key in factors) for arm in self.arms
        )
        scored = {"metric": self.spec.metrics, "region": self.spec.regions, "role": self.spec.roles}
        named = [key for key in axis if key in SCORED]
        cells = [
            {**dict(zip(factors, values, strict=True)), **dict(zip(named, more, strict=True))}
            for values in seen
            for more in product(*(scored[key] for key in named))
        ]
        ranks = [value_order(cell[key] for cell in cells) for key in axis]
        return sorted(cells, key=lambda cell: [ranks[i][cell[key]] for i, key in enumerate(axis)])

    def _address(self, row: dict[str, Any], column: dict[str, Any]) -> tuple[Key, str, str, str]:
        both = {
            "metric": self.spec.metrics[0],
            "region": self.spec.regions[0],
            "role": self.spec.roles[0],
            **row,
            **column,
        }
        arm = tuple(both[key] for key in self.results.keys)
        return arm, both["metric"], both["role"], both["region"]

    def table(self, title: str) -> Table:
        """Return the table."""
        spec, done = self.spec, self.results.complete
        places = [self._places(column) for column in self.columns]
        lines = []
        for index, row in enumerate(self.rows):
            cells = [Cell(_word(key, row[key])) for key in spec.rows]
            for column, place in zip(self.columns, places, strict=True):
                cells += self._cells(row, column, place[index])
            cells += [cost_cell(self._cost(row), name) for name in spec.costs]
            lines.append(tuple(cells))
        cautions = version_notes(done) if len(done) else []
        notes = self._test_notes() if spec.gain else []
        firsts = [row[spec.rows[0]] for row in self.rows]
        return Table(
            name=spec.name,
            title=title,
            caption=self._caption(),
            columns=(*(Column(heading(key)) for key in spec.rows), *self._header()),
            rows=tuple(lines),
            breaks=frozenset(
                i for i in range(1, len(firsts)) if len(spec.rows) > 1 and firsts[i] != firsts[i - 1]
            ),
            footnotes=(
                *cautions,
                *notes,
                *(protocol_notes(done) if len(done) else ["No trial is complete yet."]),
            ),
            data=self._data(),
        )

    def _header(self) -> list[Column]:
        """Return the columns of scores and costs; the last of several keys heads a column, the others its group."""
        found = []
        for column in self.columns:
            words = [_head_word(key, value) for key, value in column.items()] or [self._metric_word()]
            group = ", ".join(words[:-1]) or (self._metric_word() if column else "")
            found.append(Column(words[-1], "number", group))
            if self.spec.gain:
                shown = [column["metric"]] if "metric" in column else self.spec.metrics
                found.append(Column(self._difference_word(shown), "number", group))
        return found + [Column(COSTS[name][0], "number", "Cost") for name in self.spec.costs]

    def _difference_word(self, metrics: Sequence[str]) -> str:
        """Return what heads the differences of some metrics: they are gains where higher is better in all."""
        words = {self.entries[name].metric.difference for name in metrics}
        return words.pop() if len(words) == 1 else "Difference"

    def _metric_word(self) -> str:
        metrics = [entries.metric for entries in self.entries.values()]
        return f"{metrics[0].label} ({metrics[0].unit})" if len(metrics) == 1 else ""

    def _cells(self, row: dict[str, Any], column: dict[str, Any], place: int) -> list[Cell]:
        arm, metric, role, region = self._address(row, column)
        entries = self.entries[metric]
        cells = [entries.score(arm, role, region, place)]
        if self.spec.gain:
            cells.append(entries.gain(arm, role) if region == MEAN else Cell(UNSET))
        return cells

    def _places(self, column: dict[str, Any]) -> list[int]:
        """Return which rows are best and second in a column, among those that can be compared."""
        groups: dict[Any, list[int]] = {}
        for index, row in enumerate(self.rows):
            arm, metric, _, region = self._address(row, column)
            groups.setdefault((comparable(self.results.keys, arm), metric, region), []).append(index)
        found = [0] * len(self.rows)
        for (_, metric, _), members in groups.items():
            values = []
            for index in members:
                arm, _, role, region = self._address(self.rows[index], column)
                values.append(self.entries[metric].value(arm, role, region))
            better = self.entries[metric].metric.higher_is_better
            for index, place in zip(members, estimates.best_two(values, better, DECIMALS), strict=True):
                found[index] = place
        return found

    def _cost(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the first arm of a row took that has a complete trial."""
        for column in self.columns:
            arm = self._address(row, column)[0]
            if arm in self.costs:
                return self.costs[arm]
        return None

    def _test_notes(self) -> list[str]:
        """Return what stars mean; a note that does not hold for all metrics names those that it is of."""
        labels: dict[str, list[str]] = {}
        for name, entries in self.entries.items():
            own = self.comparisons[self.comparisons["metric"] == name]
            for note in significance_notes(own, "") + entries.gain_notes():
                labels.setdefault(note, []).append(entries.metric.label)
        shared = len(self.entries)
        return [note if len(of) == shared else f"{', '.join(of)}: {note}" for note, of in labels.items()]

    def _caption(self) -> str:
        metrics = [entries.metric for entries in self.entries.values()]
        directions = "; ".join(
            f"{m.label} in {m.unit}, {'higher' if m.higher_is_better else 'lower'} is better" for m in metrics
        )
        spread = {
            "sd": "± sample standard deviation over seeds",
            "interval": "[95 % interval for new seeds and cases]",
        }
        role = f" Role: {self.spec.roles[0]}." if len(self.spec.roles) == 1 else ""
        region = (
            f" Region: {self.spec.regions[0]}."
            if self.spec.regions != (MEAN,) and len(self.spec.regions) == 1
            else ""
        )
        text = f"{directions}, convention {', '.join(self.results.conventions) or 'none yet'}. Mean over test cases and seeds "
        text += f"{spread[self.results.study.report.spread]}.{role}{region} Bold: best of its column among comparable rows; "
        text += "underlined: second best."
        if self.spec.costs:
            text += " Costs: of the row's first column that has a complete trial."
        baseline = f"to the student of {self.results.study.report.baseline}"
        return text + (f" Gains and differences: {baseline}." if self.spec.gain else "")

    def _data(self) -> pd.DataFrame:
        """Return the tidy numbers, one row per printed score."""
        found = []
        for row, column in product(self.rows, self.columns):
            arm, metric, role, region = self._address(row, column)
            value = self.entries[metric].value(arm, role, region) / self.entries[metric].metric.scale
            named = dict(zip(self.results.keys, arm, strict=True))
            found.append({**named, "metric": metric, "role": role, "region": region, "mean": value})
        return pd.DataFrame(found)


def _head_word(key: str, value: Any) -> str:
    """Return a value as it heads a column, where the factor's name does not stand beside it."""
    return shots_text(value) if key == "shots" else _word(key, value)


def _word(key: str, value: Any) -> str:
    if key == "metric":
        metric = metric_of(value)
        return f"{metric.label} ({metric.unit})"
    if key == "region" and value == MEAN:
        return "Mean"
    return value_text(value)
