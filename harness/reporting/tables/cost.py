"""The table of what each arm took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.reporting.formats.table import Cell, Column, Table, breaks_between, factor_cells, factor_columns
from harness.reporting.frames import row_dicts
from harness.reporting.provenance import version_notes
from harness.reporting.report_data import Arm, ReportData
from harness.reporting.statistics import estimates
from harness.reporting.wording import UNSET, number

COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("Parameters (M)", lambda value: number(value / 1e6, 2)),
    "multiply_accumulates": ("MACs (G)", lambda value: number(value / 1e9 if value else float("nan"), 2)),
    "seconds_per_step": ("Time per step (s)", lambda value: number(value, 3)),
    "peak_memory": ("Peak memory (GiB)", lambda value: number(value / 2**30, 2)),
    "forward_passes_per_step": ("Forward passes per step", lambda value: f"{value:g}"),
    "seconds": ("Time per trial (s)", lambda value: number(value, 1)),
    "seconds_waiting_for_data": ("Waiting for data (s)", lambda value: number(value, 1)),
    "seconds_predicting": ("Predicting (s)", lambda value: number(value, 1)),
    "device_hours": ("Device-hours", lambda value: number(value, 2)),
    "pretraining_seconds": ("Time of pretraining (s)", lambda value: number(value, 1)),
    "pretraining_passes": ("Forward passes of pretraining", lambda value: f"{value:g}"),
}
"""Columns of cost: heading and format of what ``estimates.arm_costs`` returns."""
_EVEN = 1.5
"""Times compare where no update of equal work takes longer than another by this factor."""
_PRETRAINING = ("pretraining_seconds", "pretraining_passes")
_LATER = ("seconds_waiting_for_data", "seconds_predicting")


def cost_table(data: ReportData) -> Table:
    """Return what each arm took."""
    numbers = estimates.arm_costs(data.trials, data.keys)
    costs = costs_by_arm(data)
    pretrained = bool((numbers["pretraining_passes"] > 0).any())
    known = bool(numbers[[*_LATER]].notna().any(axis=None))
    hidden = (() if pretrained else _PRETRAINING) + (() if known else _LATER)
    names = [name for name in COSTS if name not in hidden]
    rows = []
    for arm in data.planned_arms:
        planned = data.planned_trials[arm]
        done = costs[arm]["trials"] if arm in costs else 0
        trials = Cell(f"n={done}" + (f" of {planned}" if done != planned else ""))
        rows.append(
            (
                *factor_cells(data.names, data.named(arm)),
                *(cost_cell(costs.get(arm), name) for name in names),
                trials,
            )
        )
    devices = ", ".join(dict.fromkeys(data.complete["device"].dropna())) or "no device yet"
    caption = (
        "Means over complete trials; of memory the largest. Parameters: of the student, in millions. "
        "MACs: 10^9 multiply-accumulates of its forward pass on one patch, which many papers print as FLOPs. "
        "Time in seconds of wall clock, per update and for the whole trial with its test; device-hours: the same in hours, "
        f"added up over the trials. Memory in GiB (2^30 bytes). Measured on: {devices}."
    )
    if known:
        caption += (
            " Waiting for data: of the time of training, that in which a step had no batch yet. Predicting: of the time of "
            "the test, that of the networks. Both are dashes where earlier versions did not measure them."
        )
    if pretrained:
        caption += " A pretraining comes on top, and is counted whole for each trial that starts from it."
    return Table(
        name="cost",
        title="Cost",
        caption=caption + uneven_note(data) + _resumed_note(data),
        columns=(
            *factor_columns(data.names, data.keys),
            *(Column(COSTS[name][0], "number") for name in names),
            Column("Trials", "number"),
        ),
        rows=tuple(rows),
        data=numbers,
        breaks=breaks_between([data.comparison_group(arm) for arm in data.planned_arms]),
        footnotes=tuple(version_notes(data.complete)),
    )


def costs_by_arm(data: ReportData) -> dict[Arm, dict[str, Any]]:
    """Return the rows of ``estimates.arm_costs`` by arm."""
    return {data.arm_of(row): row for row in row_dicts(estimates.arm_costs(data.trials, data.keys))}


def uneven_note(data: ReportData) -> str:
    """Return a sentence where times of equal work differ, and so do not compare; else nothing."""
    apart = estimates.largest_time_ratio(data.complete, data.keys)
    if not apart > _EVEN:
        return ""
    return (
        f" Updates of equal work differ up to {apart:.1f}-fold in time, as where a machine does other work too: "
        "times do not compare."
    )


def _resumed_note(data: ReportData) -> str:
    """Return a sentence on resumed trials whose records, of an earlier version, count their last part alone; else nothing."""
    seconds = data.complete["seconds"].astype(float)
    short = int((seconds < 0.99 * estimates.train_and_test_seconds(data.complete)).sum())
    if not short:
        return ""
    return f" Resumed trials whose time per trial lacks what was done before: {short}."


def cost_cell(row: dict[str, Any] | None, name: str) -> Cell:
    """Return one cost of an arm, from its row of :func:`costs_by_arm`; a dash where it has no complete trial."""
    return Cell(COSTS[name][1](row[name]), value=row[name]) if row else Cell(UNSET)
