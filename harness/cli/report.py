"""``medctx report``, ``rescore``, ``publish`` and ``compare``: what is made of records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import DEFAULT_RESULTS, Data, Overrides, Results, StudyName
from harness.console import console, counted
from harness.errors import UserError
from harness.progress.missing import Known
from harness.publishing.records import PUBLISHED, adopt, adopt_findings, journal_folder, made_from_other_data
from harness.records.store import Store
from harness.search.findings import JOURNAL, Findings
from harness.spec import TrialSpec
from harness.study.expand import load_study
from harness.study.selection import choose_cells
from harness.study.study import Study

if TYPE_CHECKING:
    from harness.reporting.write import Report

out = console()


def known_of(study: Study, store: Store) -> Known:
    """Return a study with what its searches have found so far."""
    if study.search is None:
        return Known(study)
    folder = journal_folder(study, store)
    if not (folder / JOURNAL).is_file():
        return Known(study, [Findings(arm) for arm in study.search.arms])
    from harness.search.optuna_journal import read_findings

    return Known(study, read_findings(study, folder))


def taken_over(
    study: Study,
    store: Store,
    only: Sequence[str] = (),
    content_here: Callable[[TrialSpec], str] | None = None,
) -> Known:
    """Return what is known of a study, after its trials, or those that pass ``only``, were taken from published records.

    Given ``content_here``, trials that were made from other data than others will be are left to be trained again.
    """
    adopt_findings(study, store)
    known = known_of(study, store)
    cells = choose_cells(known.study, only) if only else known.cells
    other = made_from_other_data(cells, store, content_here) if content_here else {}
    for content, count in Counter(other.values()).items():
        out.print(
            f"{counted(count, 'published trial')} made from other data than are here (content hash {content}): "
            "not taken over",
            markup=False,
        )
    if adopted := adopt([cell for cell in cells if cell.spec.id not in other], store):
        out.print(f"{counted(adopted, 'trial')} taken from {store.results / PUBLISHED}", markup=False)
    return known


def report(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Shipped studies, or paths of .yaml files.")
    ],
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; needed for several studies.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Published numbers to set beside ours, e.g. synapse_published."),
    ] = None,
) -> None:
    """Write the tables, figures and page of one or more studies from their records, own or published."""
    loaded = [load_study(name, overrides or []) for name in studies]
    if len(loaded) > 1 and output is None:
        raise UserError(
            f"medctx report {' '.join(studies)}", "no --output", "a folder for the report of several studies",
            "Add for example --output results/combined.",
        )  # fmt: skip
    if output is not None:
        _make(output)
    store = Store(results)
    known = [taken_over(study, store) for study in loaded]
    shown = known[0]
    if output is not None and len(loaded) > 1:
        from harness.study.combine import combine

        shown = Known(combine([one.study for one in known], output.name))
    if write_study_report(shown, store, data, output, reference or []).refused:
        raise typer.Exit(1)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--output {folder}", f"what cannot be made a folder ({error.strerror})", "a folder, there or new",
            "Name another.",
        ) from error  # fmt: skip


def rescore(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core.")] = None,
    overrides: Overrides = None,
) -> None:
    """Score a study's kept predictions by several conventions, and write its report with a table of them."""
    from harness.evaluation.folders import default_workers
    from harness.evaluation.rescoring import rescore as score

    store = Store(results)
    known = taken_over(load_study(study, overrides or []), store)
    with out.status("scoring predictions"):
        score(known.study, store.results, data, workers or default_workers())
    if write_study_report(known, store, data).refused:
        raise typer.Exit(1)


def publish(study: StudyName, results: Results = DEFAULT_RESULTS, data: Data = None) -> None:
    """Write a study's report, and keep its records, tables and figures below published/, small enough for git."""
    from harness.publishing.records import publish as write

    loaded, store = load_study(study), Store(results)
    known = taken_over(loaded, store)
    written = write_study_report(known, store, data)
    folder = write(loaded, known.cells, store, written.answer, written.captions)
    out.print(f"published: {folder}", markup=False)
    if written.refused:
        raise typer.Exit(1)


def compare(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    other: Annotated[
        Path,
        typer.Option("--with", metavar="DIR", help="Folder of results, own or published, to compare with."),
    ] = DEFAULT_RESULTS,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of a trial's mean Dice (0 to 1) that passes.")
    ] = 0.0,
    overrides: Overrides = None,
) -> None:
    """Compare trials that were run twice, score by score: the same bits, or how far they are apart."""
    from harness.publishing.compare import reproductions

    if results.resolve() == other.resolve():
        raise UserError(
            f"medctx compare {study}", f"the same folder twice, {results}", "two folders of results",
            "Name one with --results and the other with --with.",
        )  # fmt: skip
    known = known_of(load_study(study, overrides or []), Store(results, writable=False))
    cells = [cell for cell in known.cells if cell.spec.kind == "train"]
    found = reproductions(cells, results, other)
    for one in found:
        said = (
            f"{one.differing} of {one.values} scores differ"
            if one.differing
            else f"all {one.values} scores the same"
        )
        said += f", {one.missing} of them in one folder alone" if one.missing else ""
        out.print(
            f"{one.cell.spec.id}  {one.cell.label()}: {said}; Dice {one.dice[0]:.4f} and {one.dice[1]:.4f}",
            markup=False,
        )
    apart = [one for one in found if one.differing]
    out.print(
        f"{len(found)} of {len(cells)} trials in both folders, {len(found) - len(apart)} the same in every bit"
        + (f"; mean Dice at most {max(one.change for one in apart):.4f} apart" if apart else ""),
        markup=False,
    )
    if not all(one.agrees(tolerance) for one in found):
        raise typer.Exit(1)


def write_study_report(
    known: Known, store: Store, data: Path | None, output: Path | None = None, references: Sequence[str] = ()
) -> Report:
    """Write a report, and say where it is and which tables had to be refused."""
    from harness.reporting.write import write_report

    searches: list[Findings] = []
    if known.findings:
        from harness.search.optuna_journal import with_importances

        searches = [with_importances(found) for found in known.findings]
    report = write_report(known.study, store.results, data, output, references, searches)
    for name, reason in report.refused.items():
        out.print(f"refused: table {name}: {reason}", markup=False)
    if not any(store.status(cell.spec.id) == "complete" for cell in known.study.cells):
        out.print(
            f"nothing to show yet: no trial of {known.study.name} is complete in {store.results}",
            markup=False,
        )
    out.print(f"report: {report.page}", markup=False)
    return report
