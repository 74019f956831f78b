"""All tables of a study; a table of scores that do not compare is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from harness.errors import UserError
from harness.records.schema import safe_name
from harness.reporting.formats.table import Cell, Column, Table
from harness.reporting.provenance import selection_notes
from harness.reporting.rank_groups import RankGroup
from harness.reporting.references import Reference
from harness.reporting.report_data import ReportData
from harness.reporting.tables.comparisons import comparison_table
from harness.reporting.tables.contrasts import contrast_table
from harness.reporting.tables.conventions import convention_table
from harness.reporting.tables.cost import cost_table
from harness.reporting.tables.ensembles import ensemble_table
from harness.reporting.tables.pivot import pivot_table
from harness.reporting.tables.ranks import rank_table
from harness.reporting.tables.references import reference_tables
from harness.reporting.tables.scores import score_table
from harness.reporting.tables.trials import trials_table


def all_tables(
    data: ReportData,
    comparisons: pd.DataFrame,
    contrasts: pd.DataFrame,
    groups: Sequence[RankGroup],
    published: Mapping[str, Reference] | None = None,
    rescored: pd.DataFrame | UserError | None = None,
    ensembles: pd.DataFrame | UserError | None = None,
) -> list[Table]:
    """Return every table of a study except the tables of its searches.

    Args:
        data: of the report.
        comparisons: of ``comparison_frame``.
        contrasts: of ``contrast_frame``.
        groups: of ``rank_groups``.
        published: published numbers by name; each has two tables.
        rescored: of ``rescored_frame``.
        ensembles: of ``ensemble_frame``.

    Raises:
        UserError: a declared table that cannot be made.
    """
    tables = [*_score_tables(data, comparisons)]
    for spec in data.study.report.tables:
        tables.append(refuse_if_incomparable(pivot_table(spec, data, comparisons), data))
    for name, reference in (published or {}).items():
        own = data.of_dataset(reference.dataset)
        scores, protocol = reference_tables(name, reference, data)
        tables += [refuse_if_incomparable(scores, own), with_selection_caution(protocol, own)]
    tables.append(refuse_if_incomparable(contrast_table(data, contrasts), data))
    tables.append(refuse_if_incomparable(comparison_table(data, comparisons), data))
    if groups:
        tables.append(refuse_if_incomparable(rank_table(data, groups), data))
    tables += [with_selection_caution(table, data) for table in (cost_table(data), trials_table(data))]
    beside = {"ensembles": (ensemble_table, ensembles), "conventions": (convention_table, rescored)}
    for name, (table_of, scored) in beside.items():
        if isinstance(scored, UserError):
            tables.append(_unreadable(name, scored))
        elif scored is not None:
            tables.append(refuse_if_incomparable(table_of(data, scored), data))
    return tables


def _unreadable(name: str, error: UserError) -> Table:
    """Return what stands in place of a table whose file is damaged."""
    return Table(
        name=name,
        title=name.capitalize(),
        caption="Refused: the file with its scores cannot be read.",
        columns=(Column("Reason", "prose"),),
        rows=((Cell(str(error)),),),
        data=pd.DataFrame({"refused": [str(error)]}),
        refused=True,
    )


def _score_tables(data: ReportData, comparisons: pd.DataFrame) -> Iterator[Table]:
    """Yield the tables of each metric: of several datasets an overview without regions, then one for each."""
    datasets = list(dict.fromkeys(data.trials["dataset"]))
    for name in data.study.report.metrics:
        table = score_table(name, name, data, comparisons, regions=len(datasets) == 1)
        yield refuse_if_incomparable(table, data)
        for dataset in datasets if len(datasets) > 1 else ():
            own, label = data.of_dataset(dataset), f"{name}_{safe_name(dataset)}"
            tests = comparisons[comparisons["dataset"] == dataset].drop(columns="dataset")
            yield refuse_if_incomparable(score_table(label, name, own, tests, of=dataset), own)


def refuse_if_incomparable(table: Table, data: ReportData) -> Table:
    """Return a table of scores with its cautions; where its trials cannot be compared, the reasons in its place."""
    differences = data.undeclared_differences
    if not differences:
        return with_selection_caution(table, data)
    return Table(
        name=table.name,
        title=table.title,
        caption="Refused: the records of its trials differ in what no factor of the study declares. Run the "
        "deviating trials again after moving their records away, or make the difference a factor.",
        columns=(Column("Difference", "prose"),),
        rows=tuple((Cell(difference),) for difference in differences),
        data=pd.DataFrame({"refused": differences}),
        refused=True,
    )


def with_selection_caution(table: Table, data: ReportData) -> Table:
    """Return the table; its title and notes say so where checkpoints were selected on the test cases."""
    notes = selection_notes(data.complete)
    if not notes:
        return table
    title = f"{table.title}, checkpoints selected on test cases"
    return replace(table, title=title, footnotes=(*notes, *table.footnotes))
