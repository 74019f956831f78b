"""Ours beside what was published: the gap, and each field of the protocol that differs or is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.records.schema import safe_name
from harness.reporting.formats.table import Cell, Column, Table, factor_cells, factor_columns
from harness.reporting.frames import PROTOCOL_COLUMNS, row_dicts
from harness.reporting.provenance import short_text
from harness.reporting.references import PublishedRow, Reference
from harness.reporting.report_data import Arm, ReportData
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.tables.cost import COSTS, cost_cell, costs_by_arm
from harness.reporting.tables.scores import DECIMALS, ScoreCells
from harness.reporting.wording import UNSET, count, metric_of, number, signed
from harness.spec import as_tuples

PUBLISHED_MARK = "†"
_COSTS = {"parameters": "parameters", "multiply_accumulates": "flops"}
"""Columns of cost, and what they are called in files of published numbers."""
_COUNTED = ("training_cases", "validation_cases", "test_cases")


def reference_tables(name: str, reference: Reference, data: ReportData) -> list[Table]:
    """Return a table of our scores beside the published ones, and a table of the protocol's fields.

    Args:
        name: of the reference, as given.
        reference: the published numbers.
        data: of the report; only the arms of the reference's dataset count.
    """
    own = data.of_dataset(reference.dataset)
    label = f"reference_{safe_name(name.rpartition('/')[2].removesuffix('.yaml'))}"
    return [_score_table(label, reference, own), _protocol_table(f"{label}_protocol", reference, own)]


def published_row(reference: Reference, data: ReportData, trial: Mapping[str, Any]) -> PublishedRow | None:
    """Return the published row of a trial's architecture and of its arm or method, where it was trained on all cases."""
    specs = {cell.factors["architecture"]: cell.spec.architecture.name for cell in data.study.cells}
    methods = {cell.factors["method"]: cell.spec.method.name for cell in data.study.cells}
    for row in reference.rows:
        architectures = (trial["architecture"], specs[trial["architecture"]])
        arms = (trial["method"], "" if row.arm else methods[trial["method"]])
        same = row.architecture in architectures or (row.arm and not row.architecture)
        if same and (row.arm or row.method) in arms and trial["shots"] == "all":
            return row
    return None


def _score_table(name: str, reference: Reference, data: ReportData) -> Table:
    metrics = [metric for metric in reference.units if any(row.values(metric) for row in reference.rows)]
    shown = [
        (metric, region)
        for metric in metrics
        for region in dict.fromkeys(region for row in reference.rows for region in row.values(metric))
    ]
    priced = [name for name, field in _COSTS.items() if any(getattr(row, field) for row in reference.rows)]
    header = [Column("Trained by"), *factor_columns(data.names, data.keys)]
    header += [_score_column(reference, metric, data.names.region(region)) for metric, region in shown]
    header += [Column("Gap", "number", f"to {PUBLISHED_MARK}"), Column("Seeds", "number")]
    header += [Column(COSTS[name][0], "number", "Cost") for name in priced]
    published = [
        (Cell(f"{row.name}{PUBLISHED_MARK}"), *[Cell(UNSET)] * len(data.keys), *_printed(row, shown), Cell(UNSET),
         Cell(UNSET), *(_printed_cost(row, name) for name in priced))
        for row in reference.rows
    ]  # fmt: skip
    ours = _our_rows(reference, data, shown, priced)
    return Table(
        name=name,
        title=f"{reference.title}, and ours",
        caption="Ours are means over seeds of students; Dice in %. Gap: ours less the published mean of the first metric, "
        "for the same architecture and method on all training cases. Fields of the protocol that differ or are unknown are "
        "in the table that follows; with any of them a gap is no measure of a reproduction.",
        columns=tuple(header),
        rows=tuple(published + ours),
        breaks=frozenset({len(published)}),
        footnotes=(
            f"{PUBLISHED_MARK} Published: {reference.source}.",
            *reference.notes,
            *["Published MACs are what the source prints as FLOPs."] * ("multiply_accumulates" in priced),
            *_unit_notes(reference, data),
            *[f"No trial of ours on {reference.dataset} is complete yet."] * (not len(data.complete)),
        ),
        data=pd.DataFrame([[cell.text for cell in row] for row in published + ours],
                          columns=[column.full_heading for column in header]),
    )  # fmt: skip


def _score_column(reference: Reference, metric: str, region: str) -> Column:
    group = f"{metric_of(metric).label} ({reference.units[metric]})"
    return Column("Mean" if region == MEAN else region, "number", group)


def _printed(row: PublishedRow, shown: Sequence[tuple[str, str]]) -> list[Cell]:
    values = [row.values(metric).get(region, float("nan")) for metric, region in shown]
    return [Cell(number(value, DECIMALS), value=value) for value in values]


def _printed_cost(row: PublishedRow, name: str) -> Cell:
    value = getattr(row, _COSTS[name])
    return Cell(UNSET) if value is None else Cell(f"{value:g}", value=value)


def _our_rows(
    reference: Reference, data: ReportData, shown: Sequence[tuple[str, str]], priced: Sequence[str]
) -> list[tuple[Cell, ...]]:
    cells = {metric: ScoreCells(data, metric) for metric, _ in shown}
    costs, rows = costs_by_arm(data), []
    for arm in data.planned_arms:
        if arm not in data.ids_by_arm:
            continue
        scores = [
            cells[metric].score(arm, STUDENT, region) if _same_unit(reference, metric) else Cell(UNSET)
            for metric, region in shown
        ]
        gap = _gap(reference, data, arm, cells[shown[0][0]])
        seeds = Cell(f"n={len(data.ids_by_arm[arm])}")
        spent = [cost_cell(costs.get(arm), name) for name in priced]
        rows.append(
            (Cell("this study"), *factor_cells(data.names, data.named(arm)), *scores, gap, seeds, *spent)
        )
    return rows


def _gap(reference: Reference, data: ReportData, arm: Arm, cells: ScoreCells) -> Cell:
    """Return the arm's mean less the published one."""
    metric, row = cells.metric.name, published_row(reference, data, _first_trial(data, arm))
    if row is None or MEAN not in row.values(metric) or not _same_unit(reference, metric):
        return Cell(UNSET)
    value = cells.value(arm, STUDENT, MEAN) - row.values(metric)[MEAN]
    return Cell(signed(value, DECIMALS), value=value, trials=data.trials_of(arm))


def _first_trial(data: ReportData, arm: Arm) -> dict[str, Any]:
    return row_dicts(data.complete[data.complete["id"] == data.ids_by_arm[arm][0]])[0]


def _same_unit(reference: Reference, metric: str) -> bool:
    return reference.units[metric] == metric_of(metric).unit


def _unit_notes(reference: Reference, data: ReportData) -> list[str]:
    """Return why values of ours are missing: another unit would mislead."""
    return [
        f"{metric_of(metric).label} was published in {unit}; ours is in {metric_of(metric).unit}, and is not set beside it."
        for metric, unit in reference.units.items()
        if unit != metric_of(metric).unit and len(data.complete)
    ]


def _protocol_table(name: str, reference: Reference, data: ReportData) -> Table:
    rows, matched = [], 0
    for arm in data.ids_by_arm:
        ours = _first_trial(data, arm)
        row = published_row(reference, data, ours)
        if row is None:
            continue
        matched += 1
        known = {**reference.protocol, **row.protocol}
        for field in PROTOCOL_COLUMNS:
            verdict = _agreement(field, ours[field], known)
            if verdict != "same":
                theirs = short_text(_plain(field, known[field])) if field in known else UNSET
                words = [
                    *(cell.text for cell in factor_cells(data.names, data.named(arm))),
                    field.replace("_", " "),
                    theirs,
                ]
                rows.append((*words, short_text(_plain(field, ours[field])), verdict))
    columns = (*factor_columns(data.names, data.keys), Column("Field"), Column("Published", "prose"), Column("Ours", "prose"),
               Column("Verdict"))  # fmt: skip
    return Table(
        name=name,
        title="What differs from the published protocol, or is unknown of it",
        caption=f"For {count(matched, 'arm')} of ours with a published counterpart, every field of the record that is not known "
        "to be the same. Lists of cases are told by their length.",
        columns=columns,
        rows=tuple(tuple(Cell(text) for text in row) for row in rows),
        data=pd.DataFrame(rows, columns=[column.heading for column in columns]),
    )


def _agreement(field: str, ours: Any, known: Mapping[str, Any]) -> str:
    """Return whether a field of the protocol is the ``same``, ``differs`` or is ``unknown``."""
    if field not in known:
        return "unknown"
    return "same" if _plain(field, ours) == _plain(field, known[field]) else "differs"


def _plain(field: str, value: Any) -> Any:
    """Return a value that can be compared and printed: a list of cases by its length, other lists as tuples."""
    if field in _COUNTED:
        return len(value) if isinstance(value, tuple | list) else value
    return as_tuples(value)
