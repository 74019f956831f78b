"""From records to tables, figures and one page.

Files are read in ``frames``, ``images``, ``qualitative`` and ``overview`` only; ``estimates`` are pure functions on frames;
``results``, ``score_table``, ``tables`` and ``provenance`` make plain cells and notes of them; ``formats``,
``figures`` and ``page`` render. Nothing heavy is imported with this package.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.reporting.formats.table import Table
    from harness.search.findings import Findings
    from harness.study.study import Study


@dataclass(frozen=True)
class Report:
    """What was written: the page, ``report.html``, the answer that it begins with, why tables were refused, and captions.

    ``captions`` are of the figures, in the order of the page: the name of the file to title and text.
    """

    page: Path
    answer: str
    refused: dict[str, str]
    captions: dict[str, tuple[str, str]]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave cycles of objects for later: looking for them among millions of cells takes a tenth of a report's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def write_report(
    study: Study,
    results: Path,
    data_root: Path | None = None,
    output: Path | None = None,
    references: Sequence[str] = (),
    searches: Sequence[Findings] = (),
) -> Report:
    """Write a study's tables, figures and page from what is on disk.

    Args:
        study: what was declared.
        results: the results folder, with ``trials/``.
        data_root: where datasets lie, for images of which the study has no copy yet.
        output: where to; by default ``<results>/<study>``.
        references: names or paths of published numbers to set beside the study's own.
        searches: what its searches have found so far.

    Raises:
        UserError: a reference that cannot be read or is of no dataset of the study, a declared table that cannot be made,
            or two tables of one name.
    """
    import pandas as pd

    from harness.records.schema import RESCORED, safe_name, write_text
    from harness.reporting.comparisons import comparison_frame
    from harness.reporting.figures.drawing import draw_all
    from harness.reporting.figures.search_figures import plan_search_figures
    from harness.reporting.formats.files import write_table
    from harness.reporting.frames import case_frame, history_frame, trial_frame, write_frames
    from harness.reporting.page.answer import answer
    from harness.reporting.page.render import render_page
    from harness.reporting.references import read_reference
    from harness.reporting.report_data import build_report_data
    from harness.reporting.slices.galleries import all_galleries
    from harness.reporting.tables.search import search_tables
    from harness.reporting.tables.study import all_tables

    datasets = dict.fromkeys(str(cell.factors["dataset"]) for cell in study.cells)
    published = {name: read_reference(name, datasets) for name in references}
    folder = output or results / study.name
    folder.mkdir(parents=True, exist_ok=True)
    trials = trial_frame(study, results)
    cases = case_frame(trials, results)
    history = history_frame(trials, results)
    found = build_report_data(study, trials, cases)
    comparisons = comparison_frame(found)
    kept = results / study.name / RESCORED
    tables = all_tables(found, comparisons, published, pd.read_parquet(kept) if kept.is_file() else None)
    tried = [trial_frame(replace(study, cells=one.cells()), results) for one in searches]
    sought = search_tables(searches, found, history, tried)
    _check_names([*tables, *sought])
    write_frames(trials, cases, folder)
    for table in [*tables, *sought]:
        write_table(table, folder / "tables", label=study.name)
    _leave_only([*tables, *sought], folder / "tables")
    galleries = all_galleries(found, results, folder, data_root)
    pictures = draw_all(
        found, comparisons, history, galleries, folder / "figures", plan_search_figures(searches)
    )
    page = folder / "report.html"
    write_text(page, render_page(found, comparisons, tables, pictures, galleries, folder, sought))
    refused = {table.name: "; ".join(table.data["refused"]) for table in tables if table.refused}
    captions = {safe_name(one.name): (one.title, one.caption) for one in pictures if not one.reason}
    return Report(page, answer(found, comparisons), refused, captions)


def _check_names(tables: Sequence[Table]) -> None:
    """Refuse tables that would be written over each other: what is declared may be called as what was asked for."""
    from harness.errors import UserError
    from harness.records.schema import safe_name

    seen: set[str] = set()
    for name in (safe_name(table.name) for table in tables):
        if name in seen:
            raise UserError(
                f"table {name} of the report", "two of this name", "a name for each",
                "Rename the one that the study declares in report.tables, or the file given with --reference.",
            )  # fmt: skip
        seen.add(name)


def _leave_only(tables: Sequence[Table], folder: Path) -> None:
    """Remove the files of tables that an earlier report wrote and this one does not."""
    from harness.records.schema import safe_name

    names = {safe_name(table.name) for table in tables}
    for path in folder.glob("*"):
        if path.name.removesuffix(".trials.json") not in names and path.stem not in names:
            path.unlink()
