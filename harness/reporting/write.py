"""From records to tables, figures and one page.

``frames``, ``references`` and ``slices`` read files. ``statistics`` are pure functions on frames and arrays. ``tables``
makes plain cells, ``provenance`` notes on the protocol. ``formats``, ``figures`` and ``page`` render. Nothing heavy is
imported with this module.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from harness.reporting.figures.planned import Style
    from harness.reporting.formats.table import Table
    from harness.reporting.helpers import Share
    from harness.reporting.references import Reference
    from harness.reporting.report_data import ReportData
    from harness.search.findings import Findings
    from harness.study.study import Study


_OTHER_REPORT = 600.0  # seconds that another process may take for one
_MANY_TRIALS = (
    500  # of four times as many and more, a helper is ready by the time that this process begins to read
)


Running = Callable[[], "Sequence[str] | None"]
"""Returns a line for each trial that runs, for a page that loads itself again; None for a page that does not."""


def not_watched() -> None:
    """Return None: the page is not written again."""


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: the path of ``report.html``.
        answer: the sentence that it begins with.
        refused: why tables show no numbers, by the name of the table.
        captions: title and caption of each figure, by the name of its files, in the order of the page.
        damaged: ids of trials whose records cannot be read.
        without_curves: ids of complete trials whose curves are left out, since their history is damaged.
    """

    page: Path
    answer: str
    refused: dict[str, str]
    captions: dict[str, tuple[str, str]]
    damaged: tuple[str, ...] = ()
    without_curves: tuple[str, ...] = ()


@contextmanager
def _garbage_collection_off() -> Iterator[None]:
    """Look for cycles of objects later: among millions of cells that takes a tenth of a report's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_garbage_collection_off()
def write_report(
    study: Study,
    results: Path,
    data_root: Path | None = None,
    output: Path | None = None,
    references: Sequence[str] = (),
    searches: Sequence[Findings] = (),
    running: Running = not_watched,
    style: Style = "page",
    counted: Collection[str] | None = None,
) -> Report:
    """Write a study's tables, figures and page from what is on disk.

    Args:
        study: the study.
        results: the results folder, with ``trials/``.
        data_root: the folder of datasets, for images that the study has no copy of yet.
        output: the folder to write to; by default ``<results>/<study>``.
        references: names or paths of published numbers, to set beside the study's own.
        searches: what its searches have found so far.
        running: asked for what runs when the records have been read.
        style: what the figures fit: a column of a paper with two, or the width of its page.
        counted: the trials that count, by id; others are pending. By default all.

    Raises:
        UserError: a reference cannot be read or is of no dataset of the study, a declared table cannot be made, two
            tables have one name, or another process has been writing this report for ten minutes.
    """
    from harness.files.locks import SharedLock
    from harness.reporting.helpers import helpers

    with helpers() as share:
        share(_import_readers, [()] * (len(study.cells) // _MANY_TRIALS))
        published = _published(references, study)  # first: what is refused leaves nothing behind
        folder = output or results / study.name
        folder.mkdir(parents=True, exist_ok=True)
        # Two drivers of a study end at one time: the later writer shall also be the one that read later.
        with SharedLock(folder / ".lock-report", timeout=_OTHER_REPORT):
            return _write(
                study, results, data_root, folder, published, searches, running, style, counted, share
            )


def _write(
    study: Study,
    results: Path,
    data_root: Path | None,
    folder: Path,
    published: Mapping[str, Reference],
    searches: Sequence[Findings],
    running: Running,
    style: Style,
    counted: Collection[str] | None,
    share: Share,
) -> Report:
    from harness.files.whole import write_text
    from harness.records.schema import safe_name
    from harness.reporting import frames
    from harness.reporting.comparisons import comparison_frame
    from harness.reporting.contrasts import contrast_frame
    from harness.reporting.figures.drawing import drawing_in
    from harness.reporting.figures.ensemble_figures import plan_ensemble_figures
    from harness.reporting.figures.rank_figures import plan_rank_figures
    from harness.reporting.figures.search_figures import plan_search_figures
    from harness.reporting.figures.study_figures import (
        plan_difference_figures,
        plan_example_figures,
        plan_score_figures,
        where_comparable,
    )
    from harness.reporting.page.answer import answer
    from harness.reporting.page.render import render_page
    from harness.reporting.rank_groups import rank_groups
    from harness.reporting.slices.galleries import all_galleries
    from harness.reporting.tables.search import search_tables
    from harness.reporting.tables.study import all_tables

    data, history, torn, suggested = _read(study, results, searches, counted, share)
    with drawing_in(folder / "figures", style, share) as draw:  # by helpers, beside what follows
        reached = draw(where_comparable(data, plan_score_figures(data)))
        galleries = all_galleries(data, results, folder, data_root)
        examples = draw(plan_example_figures(data, history, galleries))
        comparisons = comparison_frame(data, share)
        contrasts, groups = contrast_frame(data), list(rank_groups(data))
        differences = draw(where_comparable(data, plan_difference_figures(data, comparisons, contrasts)))
        ranks = draw(where_comparable(data, plan_rank_figures(groups)))
        ensembles = frames.ensemble_frame(study, data.trials, results)
        averaged = draw(plan_ensemble_figures(data, ensembles))
        searched = draw(plan_search_figures(searches, data.names))
        rescored = frames.rescored_frame(study, results)
        tables = all_tables(data, comparisons, contrasts, groups, published, rescored, ensembles)
        of_searches = search_tables(searches, data, history, suggested)
        _write_tables([*tables, *of_searches], folder / "tables", study.name)
        frames.write_frames(data.trials, data.cases_of_trials, folder)
    figures = [*differences, *reached, *ranks, *examples, *averaged, *searched]
    found = answer(data, comparisons, contrasts)
    page = folder / "report.html"
    parts = (tables, of_searches, figures, galleries, folder / "figures", running())
    write_text(page, render_page(data, found, comparisons, contrasts, *parts))
    refused = {table.name: "; ".join(table.data["refused"]) for table in tables if table.refused}
    captions = {safe_name(one.name): (one.title, one.caption) for one in figures if not one.reason}
    damaged = data.trials.loc[data.trials["status"] == "damaged", "id"]
    return Report(page, found, refused, captions, tuple(damaged), tuple(torn))


def _read(
    study: Study, results: Path, searches: Sequence[Findings], counted: Collection[str] | None, share: Share
) -> tuple[ReportData, pd.DataFrame, list[str], list[pd.DataFrame]]:
    """Return a study's data, its training curves, the ids of trials without, and the trials that each search suggested."""
    from harness.reporting import frames
    from harness.reporting.report_data import build_report_data

    trials = frames.trial_frame(study, results, share, counted)
    cases, torn = frames.case_frame(trials, results, share), frames.damaged_histories(trials, results)
    history = frames.history_frame(trials, results, torn, share)
    suggested = [
        frames.trial_frame(replace(study, cells=found.cells()), results, counted=counted)
        for found in searches
    ]
    return build_report_data(study, trials, cases), history, torn, suggested


def _published(names: Sequence[str], study: Study) -> dict[str, Reference]:
    from harness.reporting.references import check_rows, read_reference  # it takes long to import

    datasets = dict.fromkeys(str(cell.factors["dataset"]) for cell in study.cells)
    published = {name: read_reference(name, datasets) for name in names}
    for name, reference in published.items():
        check_rows(name, reference, study)
    return published


def _import_readers() -> None:
    import harness.reporting.frames  # noqa: F401


def _write_tables(tables: Sequence[Table], folder: Path, label: str) -> None:
    """Write the files of all tables, and remove those of tables that are no longer there.

    Raises:
        UserError: two tables have one name, since the study declares what a reference is called too.
    """
    from harness.errors import UserError
    from harness.records.schema import safe_name
    from harness.reporting.formats.files import write_table

    names = [safe_name(table.name) for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"table {name} of the report", "two of this name", "a name for each",
                "Rename the one that the study declares in report.tables, or the file given with --reference.",
            )  # fmt: skip
    for table in tables:
        write_table(table, folder, label)
    for path in folder.glob("*"):
        if path.name.removesuffix(".trials.json") not in names and path.stem not in names:
            path.unlink()
