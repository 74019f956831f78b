"""The table of what each arm took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.reporting.formats.table import Cell, Column, Table
from harness.reporting.frames import row_dicts
from harness.reporting.provenance import version_notes
from harness.reporting.report_data import ReportData, comparable
from harness.reporting.statistics import estimates
from harness.reporting.wording import UNSET, heading, number, value_text

COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("Parameters (M)", lambda value: number(value / 1e6, 2)),
    "multiply_accumulates": ("MACs (G)", lambda value: number(value / 1e9 if value else float("nan"), 2)),
    "seconds_per_step": ("Time per step (s)", lambda value: number(value, 3)),
    "peak_memory": ("Peak memory (GiB)", lambda value: number(value / 2**30, 2)),
    "forward_passes_per_step": ("Forward passes per step", lambda value: f"{value:g}"),
    "seconds": ("Time per trial (s)", lambda value: number(value, 1)),
    "device_hours": ("Device-hours", lambda value: number(value, 2)),
    "pretraining_seconds": ("Time of pretraining (s)", lambda value: number(value, 1)),
    "pretraining_passes": ("Forward passes of pretraining", lambda value: f"{value:g}"),
}
"""Columns of cost: heading and format of what ``estimates.arm_costs`` returns."""
_EVEN = 1.5
"""How many times as long as another an update of equal work may take, for times to compare."""
_PRETRAINING = ("pretraining_seconds", "pretraining_passes")


def cost_table(results: ReportData) -> Table:
    """Return what each arm took."""
    data = estimates.arm_costs(results.trials, results.keys)
    found = {tuple(row[key] for key in results.keys): row for row in row_dicts(data)}
    pretrained = bool((data["pretraining_passes"] > 0).any())
    names = [name for name in COSTS if pretrained or name not in _PRETRAINING]
    lines = []
    for arm, planned in results.arms().items():
        row = found.get(arm)
        cells = [Cell(value_text(value)) for value in arm]
        cells += [cost_cell(row, name) for name in names]
        done = row["trials"] if row else 0
        cells.append(Cell(f"n={done}" + (f" of {planned}" if done != planned else "")))
        lines.append(tuple(cells))
    groups = [comparable(results.keys, arm) for arm in results.arms()]
    devices = ", ".join(dict.fromkeys(results.complete["device"].dropna())) or "no device yet"
    return Table(
        name="cost",
        title="Cost",
        caption="Means over complete trials; of memory the largest. Parameters: of the student, in millions. "
        "MACs: 10^9 multiply-accumulates of its forward pass on one patch, which many papers print as FLOPs. "
        "Time in seconds of wall clock, per update and for the whole trial with its test; device-hours: the same in hours, "
        "added up over the trials. Memory in GiB "
        f"(2^30 bytes). Measured on: {devices}."
        + (
            " A pretraining comes on top, and is counted whole for each trial that starts from it."
            * pretrained
        )
        + uneven_note(results)
        + _resumed_note(results),
        columns=(
            *(Column(heading(key)) for key in results.keys),
            *(Column(COSTS[name][0], "number") for name in names),
            Column("Trials", "number"),
        ),
        rows=tuple(lines),
        breaks=frozenset(i for i in range(1, len(lines)) if groups[i] != groups[i - 1]),
        footnotes=tuple(version_notes(results.complete)),
        data=data,
    )


def uneven_note(results: ReportData) -> str:
    """Return a sentence on times that do not compare, since those of equal work differ; else nothing."""
    apart = estimates.largest_time_ratio(results.complete, results.keys)
    if not apart > _EVEN:
        return ""
    return (
        f" Updates of equal work differ up to {apart:.1f}-fold in time, as where a machine does other work too: "
        "times do not compare."
    )


def _resumed_note(results: ReportData) -> str:
    """Return a sentence on records that count the last part of a resumed trial alone, as they once did."""
    seconds = results.complete["seconds"].astype(float)
    short = int((seconds < 0.99 * estimates.train_and_test_seconds(results.complete)).sum())
    if not short:
        return ""
    return f" Resumed trials whose time per trial lacks what was done before: {short}."


def cost_cell(row: dict[str, Any] | None, name: str) -> Cell:
    """Return one cost of an arm, a row of ``estimates.arm_costs``; a dash where it has no complete trial."""
    return Cell(COSTS[name][1](row[name]), value=row[name]) if row else Cell(UNSET)
