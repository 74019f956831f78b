"""All tables of a study: scores, cost and the state of every trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from harness.report import estimates
from harness.report.formats import Cell, Column, Table
from harness.report.frames import records
from harness.report.provenance import version_notes
from harness.report.results import Results, comparable
from harness.report.score_table import score_table
from harness.report.wording import UNSET, heading, number, safe_name, value_text
from harness.study import Skip


def all_tables(results: Results) -> list[Table]:
    """Return every table of a study; one table of scores per dataset, with an overview where there are several."""
    datasets = list(dict.fromkeys(results.trials["dataset"]))
    tables = []
    for name in results.study.report.metrics:
        if len(datasets) == 1:
            tables.append(score_table(name, name, results))
            continue
        tables.append(score_table(name, name, results, regions=False))
        tables += [score_table(f"{name}_{safe_name(d)}", name, results.of(d), of=d) for d in datasets]
    return [*tables, cost_table(results), trials_table(results)]


_COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("parameters", "Parameters (M)", lambda value: number(value / 1e6, 2)),
    ("seconds_per_step", "Time per step (s)", lambda value: number(value, 3)),
    ("peak_memory", "Peak memory (GiB)", lambda value: number(value / 2**30, 2)),
    ("forward_passes_per_step", "Forward passes per step", lambda value: f"{value:g}"),
    ("seconds", "Time per trial (s)", lambda value: number(value, 1)),
)


_PRETRAINING_COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("pretraining_seconds", "Time of pretraining (s)", lambda value: number(value, 1)),
    ("pretraining_passes", "Forward passes of pretraining", lambda value: f"{value:g}"),
)


def cost_table(results: Results) -> Table:
    """Return what each arm took."""
    data = estimates.costs(results.trials, results.keys)
    found = {tuple(row[key] for key in results.keys): row for row in records(data)}
    pretrained = bool((data["pretraining_passes"] > 0).any())
    costs = (*_COSTS, *_PRETRAINING_COSTS) if pretrained else _COSTS
    lines = []
    for arm, planned in results.arms().items():
        row = found.get(arm)
        cells = [Cell(value_text(value)) for value in arm]
        cells += [Cell(show(row[name]) if row else UNSET) for name, _, show in costs]
        done = row["trials"] if row else 0
        cells.append(Cell(f"n={done}" + (f" of {planned}" if done != planned else "")))
        lines.append(tuple(cells))
    groups = [comparable(results.keys, arm) for arm in results.arms()]
    devices = ", ".join(dict.fromkeys(results.complete["device"].dropna())) or "no device yet"
    return Table(
        name="cost",
        title="Cost",
        caption="Means over complete trials; of memory the largest. Parameters: of the student, in millions. "
        "Time in seconds of wall clock, per update and for the whole trial with its test. Memory in GiB "
        f"(2^30 bytes). Measured on: {devices}."
        + (
            " A pretraining comes on top, and is counted whole for each trial that starts from it."
            * pretrained
        ),
        columns=(
            *(Column(heading(key)) for key in results.keys),
            *(Column(text, "number") for _, text, _ in costs),
            Column("Trials", "number"),
        ),
        rows=tuple(lines),
        breaks=frozenset(i for i in range(1, len(lines)) if groups[i] != groups[i - 1]),
        footnotes=tuple(version_notes(results.complete)),
        data=data,
    )


def trials_table(results: Results) -> Table:
    """Return every declared cell: its status, and the cause or reason where there is no result."""
    study = results.study
    keys = [key for key in study.factors if key == "seed" or key in results.keys]
    rows: list[dict[str, Any]] = []
    for row in records(results.trials):
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
        rows=tuple(
            tuple(Cell(number(row[c], 1) if c == "seconds" else value_text(row[c])) for c in columns)
            for row in rows
        ),
        breaks=frozenset(),
        footnotes=(),
        data=pd.DataFrame(rows, columns=columns),
    )  # fmt: skip


def skip_row(skip: Skip, keys: Sequence[str]) -> dict[str, Any]:
    """Return a skipped cell in the columns of the table of trials."""
    values = {key: skip.factors.get(key) for key in keys}
    return {
        "id": UNSET, **{key: UNSET if value is None else value for key, value in values.items()},
        "status": "skipped", "seconds": float("nan"), "cause": skip.reason,
    }  # fmt: skip
