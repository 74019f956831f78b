"""Ours beside what was published: the gap, and each field of the protocol that differs or is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.records.schema import safe_name
from harness.reporting.formats.table import Cell, Column, Table
from harness.reporting.frames import PROTOCOL_COLUMNS, row_dicts
from harness.reporting.provenance import short_text
from harness.reporting.references import PublishedRow, Reference
from harness.reporting.report_data import Key, ReportData
from harness.reporting.statistics import estimates
from harness.reporting.statistics.estimates import MEAN, STUDENT
from harness.reporting.tables.cost import COSTS, cost_cell
from harness.reporting.tables.scores import DECIMALS, ScoreCells, score_data
from harness.reporting.wording import UNSET, count, heading, metric_of, number, signed, value_text

MARK = "†"
_COSTS = {"parameters": "parameters", "multiply_accumulates": "flops"}
"""Columns of cost, and what they are called in files of published numbers."""
_COUNTED = ("training_cases", "validation_cases", "test_cases")


def reference_tables(name: str, reference: Reference, results: ReportData) -> list[Table]:
    """Return the table of scores with the published rows, and that of the protocol's fields.

    Args:
        name: of the reference, as given.
        reference: the published numbers.
        results: what the study found; only the arms of the reference's dataset count.
    """
    own = results.of(reference.dataset)
    label = f"reference_{safe_name(name.rpartition('/')[2].removesuffix('.yaml'))}"
    return [_scores(label, reference, own), _protocols(f"{label}_protocol", reference, own)]


def published_row(reference: Reference, results: ReportData, arm: Mapping[str, Any]) -> PublishedRow | None:
    """Return what was published of an arm: of its architecture and method, trained on all cases."""
    specs = {cell.factors["architecture"]: cell.spec.architecture.name for cell in results.study.cells}
    methods = {cell.factors["method"]: cell.spec.method.name for cell in results.study.cells}
    for row in reference.rows:
        same = (row.architecture, row.method) == (specs[arm["architecture"]], methods[arm["method"]])
        if same and arm["shots"] == "all":
            return row
    return None


def _scores(name: str, reference: Reference, results: ReportData) -> Table:
    metrics = [metric for metric in reference.units if any(row.values(metric) for row in reference.rows)]
    shown = [
        (metric, region)
        for metric in metrics
        for region in dict.fromkeys(region for row in reference.rows for region in row.values(metric))
    ]
    keys = [*results.keys]
    header = [Column("Trained by"), *(Column(heading(key)) for key in keys)]
    header += [Column(*_heading(reference, metric, region)) for metric, region in shown]
    header += [Column("Gap", "number", f"to {MARK}"), Column("Seeds", "number")]
    priced = [name for name, field in _COSTS.items() if any(getattr(row, field) for row in reference.rows)]
    header += [Column(COSTS[name][0], "number", "Cost") for name in priced]
    published = [
        (
            Cell(f"{row.name}{MARK}"),
            *[Cell(UNSET)] * len(keys),
            *_printed(row, shown),
            Cell(UNSET),
            Cell(UNSET),
            *(_printed_cost(getattr(row, _COSTS[name])) for name in priced),
        )
        for row in reference.rows
    ]
    ours = _ours(reference, results, shown, priced)
    title = f"{reference.title}, and ours"
    return Table(
        name=name,
        title=title,
        caption="Ours are means over seeds of students; Dice in %. Gap: ours less the published mean of the first metric, "
        "for the same architecture and method on all training cases. Fields of the protocol that differ or are unknown are "
        "in the table that follows; with any of them a gap is no measure of a reproduction.",
        columns=tuple(header),
        rows=tuple(published + ours),
        breaks=frozenset({len(published)}),
        footnotes=(
            f"{MARK} Published: {reference.source}.",
            *reference.notes,
            *["Published MACs are what the source prints as FLOPs."] * ("multiply_accumulates" in priced),
            *_unit_notes(reference, results),
            *[f"No trial of ours on {reference.dataset} is complete yet."] * (not len(results.complete)),
        ),
        data=pd.DataFrame([[cell.text for cell in row] for row in published + ours],
                          columns=[column.full_heading for column in header]),
    )  # fmt: skip


def _heading(reference: Reference, metric: str, region: str) -> tuple[str, str, str]:
    word = "Mean" if region == MEAN else region
    return word, "number", f"{metric_of(metric).label} ({reference.units[metric]})"


def _printed(row: PublishedRow, shown: Sequence[tuple[str, str]]) -> list[Cell]:
    values = [row.values(metric).get(region, float("nan")) for metric, region in shown]
    return [Cell(number(value, DECIMALS), value=value) for value in values]


def _printed_cost(value: float | None) -> Cell:
    return Cell(UNSET) if value is None else Cell(f"{value:g}", value=value)


def _ours(
    reference: Reference, results: ReportData, shown: Sequence[tuple[str, str]], priced: Sequence[str]
) -> list[tuple[Cell, ...]]:
    entries = {}
    for metric in dict.fromkeys(metric for metric, _ in shown):
        scores = results.scores[results.scores["metric"] == metric]
        data = score_data(results, scores, metric_of(metric))
        entries[metric] = ScoreCells(
            results, data, pd.DataFrame(columns=[*results.keys, "role"]), metric_of(metric)
        )
    taken = {
        tuple(row[key] for key in results.keys): row
        for row in row_dicts(estimates.arm_costs(results.trials, results.keys))
    }
    rows = []
    for arm in results.arms():
        if arm not in results.networks:
            continue
        cells = [
            entries[metric].score(arm, STUDENT, region) if _same_unit(reference, metric) else Cell(UNSET)
            for metric, region in shown
        ]
        words = [Cell(value_text(value)) for value in arm]
        seeds = Cell(f"n={len(results.networks[arm])}")
        gap = _gap(reference, results, arm, entries, shown)
        costs = [cost_cell(taken.get(arm), name) for name in priced]
        rows.append((Cell("this study"), *words, *cells, gap, seeds, *costs))
    return rows


def _gap(
    reference: Reference, results: ReportData, arm: Key, entries: Mapping[str, ScoreCells],
    shown: Sequence[tuple[str, str]],
) -> Cell:  # fmt: skip
    metric = shown[0][0]
    row = published_row(reference, results, _factors(results, arm))
    if row is None or MEAN not in row.values(metric) or not _same_unit(reference, metric):
        return Cell(UNSET)
    value = entries[metric].value(arm, STUDENT, MEAN) - row.values(metric)[MEAN]
    return Cell(signed(value, DECIMALS), value=value, trials=results.networks[arm])


def _factors(results: ReportData, arm: Key) -> dict[str, Any]:
    """Return all factors of an arm, those that do not vary included."""
    first = row_dicts(results.complete[results.complete["id"] == results.networks[arm][0]])[0]
    return {key: first[key] for key in results.study.factors}


def _same_unit(reference: Reference, metric: str) -> bool:
    return reference.units[metric] == metric_of(metric).unit


def _unit_notes(reference: Reference, results: ReportData) -> list[str]:
    """Return why values of ours are missing: those in another unit would mislead."""
    return [
        f"{metric_of(metric).label} was published in {unit}; ours is in {metric_of(metric).unit}, and is not set beside it."
        for metric, unit in reference.units.items()
        if unit != metric_of(metric).unit and len(results.complete)
    ]


def _protocols(name: str, reference: Reference, results: ReportData) -> Table:
    rows = []
    for arm, ids in results.networks.items():
        row = published_row(reference, results, _factors(results, arm))
        if row is None:
            continue
        first = row_dicts(results.complete[results.complete["id"] == ids[0]])[0]
        known = {**reference.protocol, **row.protocol}
        for field in PROTOCOL_COLUMNS:
            verdict = _verdict(field, first[field], known)
            if verdict != "same":
                told = short_text(_plain(field, known[field])) if field in known else UNSET
                words = [*(value_text(value) for value in arm), field.replace("_", " "), told]
                rows.append((*words, short_text(_plain(field, first[field])), verdict))
    columns = (*(Column(heading(key)) for key in results.keys), Column("Field"), Column("Published", "prose"),
               Column("Ours", "prose"), Column("Verdict"))  # fmt: skip
    matched = count(sum(1 for arm in results.networks
                        if published_row(reference, results, _factors(results, arm))), "arm")  # fmt: skip
    return Table(
        name=name,
        title="What differs from the published protocol, or is unknown of it",
        caption=f"For {matched} of ours with a published counterpart, every field of the record that is not known to be the "
        "same. Lists of cases are told by their length.",
        columns=columns,
        rows=tuple(tuple(Cell(text) for text in row) for row in rows),
        breaks=frozenset(),
        footnotes=(),
        data=pd.DataFrame(rows, columns=[column.heading for column in columns]),
    )


def _verdict(field: str, ours: Any, known: Mapping[str, Any]) -> str:
    if field not in known:
        return "unknown"
    return "same" if _plain(field, ours) == _plain(field, known[field]) else "differs"


def _plain(field: str, value: Any) -> Any:
    """Return a value that can be compared and printed: a list of cases by its length, other lists as tuples."""
    if field in _COUNTED:
        return len(value) if isinstance(value, tuple | list) else value
    return tuple(value) if isinstance(value, list) else value
