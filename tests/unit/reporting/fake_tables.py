"""Tables of a results folder that nobody trained, and a small one with every awkward character."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
from fake_results import case_row, make_cell, make_record, write_trial

from harness.reporting.comparisons import comparison_frame
from harness.reporting.contrasts import contrast_frame
from harness.reporting.formats.table import Cell, Column, Table
from harness.reporting.frames import case_frame, trial_frame
from harness.reporting.rank_groups import rank_groups
from harness.reporting.report_data import ReportData, build_report_data
from harness.reporting.tables.study import all_tables
from harness.study.cells import Cell as TrialCell
from harness.study.file import ReportSpec, TableSpec
from harness.study.study import Study


def load(study: Study, results: Path) -> ReportData:
    trials = trial_frame(study, results)
    return build_report_data(study, trials, case_frame(trials, results))


def loaded(study: Study, results: Path) -> tuple[ReportData, pd.DataFrame, pd.DataFrame]:
    """Return the data of a report, its comparisons and its contrasts."""
    found = load(study, results)
    return found, comparison_frame(found), contrast_frame(found)


def tables_of(study: Study, results: Path) -> dict[str, Table]:
    data, *tests = loaded(study, results)
    return {table.name: table for table in all_tables(data, *tests, [*rank_groups(data)])}


SPECIAL = r"50% of a_b & #1 {x} $y ~ ^ \ <z> |w| ± − é 漢"


def small(name: str = "small") -> Table:
    return Table(
        name=name, title="A title", caption=f"In %. {SPECIAL}",
        columns=(Column("Arm"), Column("x|y", "number")),
        rows=((Cell(SPECIAL), Cell("1.00", bold=True)), (Cell("b"), Cell("2.00"))),
        breaks=frozenset({1}), footnotes=("a note",), data=pd.DataFrame({"arm": ["a"], "value": [1 / 3]}),
    )  # fmt: skip


WIDE = TableSpec(
    name="wide", rows=("architecture", "method"), columns=("shots", "metric"), metrics=("dice", "hd95"), gain=True,
    costs=("parameters", "seconds_per_step"),
)  # fmt: skip


def with_tables(study: Study, *tables: TableSpec, **report: object) -> Study:
    return replace(study, report=ReportSpec(tables=tables, **report))


def scored(
    results: Path, value: float, commit: str = "c1", protocol: dict | None = None, **factors: object
) -> TrialCell:
    """Write a complete trial with one case and region, and return its cell."""
    cell = make_cell(**{"architecture": "unet", "method": "supervised", **factors})
    rows = [case_row("1", "lobe", value), case_row("1", "lobe", 10 * value, "hd95")]
    write_trial(results, make_record(cell, commit, **(protocol or {})), rows, [])
    return cell
