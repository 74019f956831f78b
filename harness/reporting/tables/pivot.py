"""Tables that a study declares: any factors, metrics, regions and roles as rows and columns, with grouped headers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pandas as pd

from harness.reporting.formats.table import Cell, Column, Table, breaks_between
from harness.reporting.provenance import version_notes
from harness.reporting.report_data import Arm, ReportData, value_order
from harness.reporting.statistics.estimates import MEAN
from harness.reporting.tables.comparisons import significance_notes
from harness.reporting.tables.cost import COSTS, cost_cell, costs_by_arm
from harness.reporting.tables.scores import ScoreCells, best_in_groups
from harness.reporting.wording import UNSET, metric_of, shots_text
from harness.study.axes import SCORED
from harness.study.file import TableSpec
from harness.study.report_checks import check_axes


def pivot_table(spec: TableSpec, data: ReportData, comparisons: pd.DataFrame) -> Table:
    """Return a declared table.

    Args:
        spec: what the study declares.
        data: of the report.
        comparisons: of ``comparison_frame``.

    Raises:
        UserError: a row or column that is no factor, or a factor that varies and is in neither.
    """
    check_axes(data.study.name, spec, data.keys)
    title = spec.title or spec.name.replace("_", " ").capitalize()
    return _Pivot(spec, data, comparisons).table(title)


class _Pivot:
    """A declared table: the values of its rows and columns, and the scores where they meet."""

    def __init__(self, spec: TableSpec, data: ReportData, comparisons: pd.DataFrame) -> None:
        self.spec, self.data = spec, data
        self.cells = {name: ScoreCells(data, name, comparisons) for name in spec.metrics}
        self.rows = self._combinations(spec.rows)
        self.columns = self._combinations(spec.columns)
        self._costs = costs_by_arm(data)

    def _combinations(self, axis: Sequence[str]) -> list[dict[str, Any]]:
        """Return the values of an axis that planned arms have, with all metrics, regions and roles."""
        factors = [key for key in axis if key not in SCORED]
        arms = map(self.data.named, self.data.planned_arms)
        seen = dict.fromkeys(tuple(arm[key] for key in factors) for arm in arms)
        scored = {"metric": self.spec.metrics, "region": self.spec.regions, "role": self.spec.roles}
        named = [key for key in axis if key in SCORED]
        cells = [
            {**dict(zip(factors, values, strict=True)), **dict(zip(named, more, strict=True))}
            for values in seen
            for more in product(*(scored[key] for key in named))
        ]
        ranks = [value_order(cell[key] for cell in cells) for key in axis]
        return sorted(cells, key=lambda cell: [ranks[i][cell[key]] for i, key in enumerate(axis)])

    def _address(self, row: dict[str, Any], column: dict[str, Any]) -> tuple[str, Arm, str, str]:
        """Return the metric, arm, role and region of a cell."""
        spec = self.spec
        scored = {"metric": spec.metrics[0], "region": spec.regions[0], "role": spec.roles[0]}
        both = {**scored, **row, **column}
        return both["metric"], self.data.arm_of(both), both["role"], both["region"]

    def table(self, title: str) -> Table:
        """Return the table."""
        spec, done = self.spec, self.data.complete
        columns = [
            (Column(self.data.names.factor(key)), [Cell(self._word(key, row[key])) for row in self.rows])
            for key in spec.rows
        ]
        for column in self.columns:
            columns += self._scores(column)
        costs = [self._cost(row) for row in self.rows]
        for name in spec.costs:
            columns.append(
                (Column(COSTS[name][0], "number", "Cost"), [cost_cell(cost, name) for cost in costs])
            )
        nothing = [] if len(done) else ["No trial is complete yet."]
        firsts = [row[spec.rows[0]] for row in self.rows]
        return Table(
            name=spec.name,
            title=title,
            caption=self._caption(),
            columns=tuple(column for column, _ in columns),
            rows=tuple(zip(*(cells for _, cells in columns), strict=True)),
            data=self._numbers(),
            breaks=breaks_between(firsts) if len(spec.rows) > 1 else frozenset(),
            footnotes=(
                *version_notes(done),
                *self.data.fold_notes,
                *(self._test_notes() if spec.gain else []),
                *nothing,
            ),
            protocol=self.data.protocol_notes,
        )

    def _scores(self, column: dict[str, Any]) -> list[tuple[Column, list[Cell]]]:
        """Return a column of scores, and of gains where they are asked for; the last of several keys heads it, the others its group."""
        words = [self._head_word(key, value) for key, value in column.items()] or [self._metric_word()]
        group = ", ".join(words[:-1]) or (self._metric_word() if column else "")
        addresses = [self._address(row, column) for row in self.rows]
        groups = [(self.data.rivals(arm), metric, region) for metric, arm, _, region in addresses]
        merits = [self.cells[metric].merit(arm, role, region) for metric, arm, role, region in addresses]
        scores = [
            self.cells[metric].score(arm, role, region, place)
            for (metric, arm, role, region), place in zip(
                addresses, best_in_groups(merits, groups), strict=True
            )
        ]
        found = [(Column(words[-1], "number", group), scores)]
        if self.spec.gain:
            gains = [
                self.cells[metric].gain(arm, role) if region == MEAN else Cell(UNSET)
                for metric, arm, role, region in addresses
            ]
            shown = [column["metric"]] if "metric" in column else self.spec.metrics
            found.append((Column(self._difference_word(shown), "number", group), gains))
        return found

    def _difference_word(self, metrics: Sequence[str]) -> str:
        """Return what heads the differences of some metrics: they are gains where higher is better in all."""
        words = {self.cells[name].metric.difference for name in metrics}
        return words.pop() if len(words) == 1 else "Difference"

    def _metric_word(self) -> str:
        metrics = [cells.metric for cells in self.cells.values()]
        return f"{metrics[0].label} ({metrics[0].unit})" if len(metrics) == 1 else ""

    def _cost(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the first arm of a row took that has a complete trial."""
        arms = (self._address(row, column)[1] for column in self.columns)
        return next((self._costs[arm] for arm in arms if arm in self._costs), None)

    def _test_notes(self) -> list[str]:
        """Return what stars mean; a note that does not hold for all metrics names its metrics."""
        labels: dict[str, list[str]] = {}
        for cells in self.cells.values():
            for note in significance_notes(cells.comparisons, "") + cells.gain_notes():
                labels.setdefault(note, []).append(cells.metric.label)
        shared = len(self.cells)
        return [note if len(of) == shared else f"{', '.join(of)}: {note}" for note, of in labels.items()]

    def _caption(self) -> str:
        metrics = [cells.metric for cells in self.cells.values()]
        directions = "; ".join(
            f"{m.label} in {m.unit}, {'higher' if m.higher_is_better else 'lower'} is better" for m in metrics
        )
        spread = {
            "sd": "± sample standard deviation over seeds",
            "interval": "[95 % interval for new seeds and cases]",
        }
        role = f" Role: {self.spec.roles[0]}." if len(self.spec.roles) == 1 else ""
        region = (
            f" Region: {self.data.names.region(self.spec.regions[0])}."
            if self.spec.regions != (MEAN,) and len(self.spec.regions) == 1
            else ""
        )
        text = f"{directions}, convention {', '.join(self.data.conventions) or 'none yet'}. Mean over test cases and seeds "
        text += f"{spread[self.data.study.report.spread]}.{role}{region} Bold: best of its column among comparable rows; "
        text += "underlined: second best."
        if self.spec.costs:
            text += " Costs: of the row's first column that has a complete trial."
        baseline = f"to the student of {self.data.baseline_name}"
        return text + (f" Gains and differences: {baseline}." if self.spec.gain else "")

    def _numbers(self) -> pd.DataFrame:
        """Return the tidy numbers, one row per printed score."""
        found = []
        for row, column in product(self.rows, self.columns):
            metric, arm, role, region = self._address(row, column)
            mean = self.cells[metric].value(arm, role, region) / self.cells[metric].metric.scale
            found.append(
                {**self.data.named(arm), "metric": metric, "role": role, "region": region, "mean": mean}
            )
        return pd.DataFrame(found)

    def _head_word(self, key: str, value: Any) -> str:
        """Return a value as it heads a column, where the factor's name does not stand beside it."""
        return shots_text(value) if key == "shots" else self._word(key, value)

    def _word(self, key: str, value: Any) -> str:
        if key == "metric":
            metric = metric_of(value)
            return f"{metric.label} ({metric.unit})"
        if key == "region":
            return "Mean" if value == MEAN else self.data.names.region(value)
        return self.data.names.value(key, value)
