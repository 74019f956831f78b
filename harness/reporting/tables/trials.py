"""The table of the state of every trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.reporting.formats.table import Cell, Column, Table, factor_columns
from harness.reporting.frames import row_dicts
from harness.reporting.report_data import ReportData
from harness.reporting.wording import UNSET, number
from harness.study.cells import FOLD
from harness.study.names import Names
from harness.study.study import Skip


def trials_table(data: ReportData) -> Table:
    """Return every declared cell: its status, and the cause or reason where there is no result."""
    study = data.study
    told_apart = (*data.keys, "seed", *([FOLD] if data.is_folded else []))
    keys = [key for key in study.factors if key in told_apart]
    rows: list[dict[str, Any]] = []
    for row in row_dicts(data.trials[["id", *keys, "status", "seconds", "cause", "message"]]):
        cause = ": ".join(str(row[part]) for part in ("cause", "message") if isinstance(row[part], str))
        rows.append({"id": row["id"], **{k: row[k] for k in keys}, "status": row["status"],
                     "seconds": row["seconds"], "cause": cause})  # fmt: skip
    rows += [_skip_row(skip, keys) for skip in study.skipped]
    columns = ["id", *keys, "status", "seconds", "cause"]
    return Table(
        name="trials",
        title="Trials",
        caption="Every declared trial: its status, wall-clock time in seconds, and why there is no result where "
        "there is none. A trial's id names its folder below trials/.",
        columns=(
            Column("Id"), *factor_columns(data.names, keys), Column("Status"), Column("Time\u00a0(s)", "number"),
            Column("Cause or reason", "prose"),
        ),
        rows=tuple(tuple(_trial_cell(row, column, data.names) for column in columns) for row in rows),
        data=pd.DataFrame(rows, columns=columns),
    )  # fmt: skip


def _trial_cell(row: dict[str, Any], column: str, names: Names) -> Cell:
    if column == "seconds":
        return Cell(number(row[column], 1), value=row[column])
    anchor = f"trial-{row['id']}" if column == "id" and row["id"] != UNSET else ""
    return Cell(names.value(column, row[column]), anchor=anchor)


def _skip_row(skip: Skip, keys: Sequence[str]) -> dict[str, Any]:
    """Return a skipped cell in the columns of the table of trials."""
    values = {key: skip.factors.get(key) for key in keys}
    return {
        "id": UNSET, **{key: UNSET if value is None else value for key, value in values.items()},
        "status": "skipped", "seconds": float("nan"), "cause": skip.reason,
    }  # fmt: skip
