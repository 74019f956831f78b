"""All tables of a study, and the one of the state of every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from harness.records.schema import safe_name
from harness.reporting.formats.table import Cell, Column, Table
from harness.reporting.frames import row_dicts
from harness.reporting.provenance import selection_notes
from harness.reporting.references import Reference
from harness.reporting.report_data import ReportData
from harness.reporting.tables.comparisons import comparison_table
from harness.reporting.tables.cost import cost_table
from harness.reporting.tables.pivot import pivot_table
from harness.reporting.tables.references import reference_tables
from harness.reporting.tables.scores import score_table
from harness.reporting.wording import UNSET, heading, number, value_text
from harness.study.study import Skip


def all_tables(
    results: ReportData, comparisons: pd.DataFrame, published: Mapping[str, Reference] | None = None
) -> list[Table]:
    """Return every table of a study; one table of scores per dataset, with an overview where there are several.

    Args:
        results: what the study found.
        comparisons: of ``comparison_frame``.
        published: numbers of others by name, each with two tables of its own.
    """
    datasets = list(dict.fromkeys(results.trials["dataset"]))
    tables = []
    for name in results.study.report.metrics:
        if len(datasets) == 1:
            tables.append(refuse_if_incomparable(score_table(name, name, results, comparisons), results))
            continue
        tables.append(
            refuse_if_incomparable(score_table(name, name, results, comparisons, regions=False), results)
        )
        for dataset in datasets:
            own, label = results.of(dataset), f"{name}_{safe_name(dataset)}"
            tests = comparisons[comparisons["dataset"] == dataset].drop(columns="dataset")
            tables.append(refuse_if_incomparable(score_table(label, name, own, tests, of=dataset), own))
    tables += [
        refuse_if_incomparable(pivot_table(spec, results, comparisons), results)
        for spec in results.study.report.tables
    ]
    for name, reference in (published or {}).items():
        own = results.of(reference.dataset)
        scores, protocols = reference_tables(name, reference, results)
        tables += [refuse_if_incomparable(scores, own), with_selection_caution(protocols, own)]
    tables.append(refuse_if_incomparable(comparison_table(results, comparisons), results))
    return [
        *tables,
        with_selection_caution(cost_table(results), results),
        with_selection_caution(trials_table(results), results),
    ]


def refuse_if_incomparable(table: Table, results: ReportData) -> Table:
    """Return a table of scores, marked; or, where its trials cannot be compared, what stands in its place."""
    differences = results.differences
    if not differences:
        return with_selection_caution(table, results)
    return Table(
        name=table.name,
        title=table.title,
        caption="Refused: the records of its trials differ in what no factor of the study declares. Run the "
        "deviating trials again after moving their records away, or make the difference a factor.",
        columns=(Column("Difference", "prose"),),
        rows=tuple((Cell(difference),) for difference in differences),
        breaks=frozenset(),
        footnotes=(),
        data=pd.DataFrame({"refused": differences}),
        refused=True,
    )


def with_selection_caution(table: Table, results: ReportData) -> Table:
    """Return a table that says so where checkpoints were selected on the test cases."""
    notes = selection_notes(results.complete)
    if not notes:
        return table
    title = f"{table.title}, checkpoints selected on test cases"
    return replace(table, title=title, footnotes=(*notes, *table.footnotes))


def trials_table(results: ReportData) -> Table:
    """Return every declared cell: its status, and the cause or reason where there is no result."""
    study = results.study
    keys = [key for key in study.factors if key == "seed" or key in results.keys]
    rows: list[dict[str, Any]] = []
    for row in row_dicts(results.trials):
        cause = ": ".join(str(row[part]) for part in ("cause", "message") if isinstance(row[part], str))
        rows.append({"id": row["id"], **{k: row[k] for k in keys}, "status": row["status"],
                     "seconds": row["seconds"], "cause": cause})  # fmt: skip
    rows += [skip_row(skip, keys) for skip in study.skipped]
    columns = ["id", *keys, "status", "seconds", "cause"]
    return Table(
        name="trials",
        title="Trials",
        caption="Every declared trial: its status, wall-clock time in seconds, and why there is no result where "
        "there is none. A trial's id names its folder below trials/.",
        columns=(
            Column("Id"), *(Column(heading(key)) for key in keys), Column("Status"), Column("Time\u00a0(s)", "number"),
            Column("Cause or reason", "prose"),
        ),
        rows=tuple(tuple(_trial_cell(row, column) for column in columns) for row in rows),
        breaks=frozenset(),
        footnotes=(),
        data=pd.DataFrame(rows, columns=columns),
    )  # fmt: skip


def _trial_cell(row: dict[str, Any], column: str) -> Cell:
    if column == "seconds":
        return Cell(number(row[column], 1), value=row[column])
    anchor = f"trial-{row['id']}" if column == "id" and row["id"] != UNSET else ""
    return Cell(value_text(row[column]), anchor=anchor)


def skip_row(skip: Skip, keys: Sequence[str]) -> dict[str, Any]:
    """Return a skipped cell in the columns of the table of trials."""
    values = {key: skip.factors.get(key) for key in keys}
    return {
        "id": UNSET, **{key: UNSET if value is None else value for key, value in values.items()},
        "status": "skipped", "seconds": float("nan"), "cause": skip.reason,
    }  # fmt: skip
