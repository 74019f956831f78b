"""``medctx report``, ``rescore``, ``publish`` and ``compare``: what is made of records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import DEFAULT_RESULTS, Data, Overrides, Processes, Results, StudyName
from harness.commands.compare import compare as compare_folders
from harness.commands.publish import publish as publish_study
from harness.commands.report import report as write_report
from harness.commands.rescore import rescore as score_again
from harness.console import console
from harness.reporting.figures.planned import Style
from harness.study.expand import load_study

if TYPE_CHECKING:
    from harness.reporting.write import Report

out = console()


def report(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Shipped studies, or paths of .yaml files.")
    ],
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write to; needed for several studies.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Published numbers to show beside ours, e.g. synapse_published, or a .yaml file.",
        ),
    ] = None,
    style: Annotated[
        Style,
        typer.Option(help="Size of figures in print: one column of two, or the page's width."),
    ] = "page",
) -> None:
    """Write the tables, figures and page of one or more studies from their records, own or published."""
    loaded = [load_study(name, overrides or [], data) for name in studies]
    _end(
        write_report(
            loaded,
            results=results,
            data=data,
            output=output,
            references=reference or [],
            style=style,
            say=say,
        )
    )


def rescore(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    workers: Processes = None,
    overrides: Overrides = None,
) -> None:
    """Score a study's kept predictions by several conventions, and add a table of them to its report."""
    loaded = load_study(study, overrides or [], data)
    with out.status("scoring predictions"):
        written = score_again(loaded, results=results, data=data, workers=workers, say=say)
    _end(written)


def publish(study: StudyName, results: Results = DEFAULT_RESULTS, data: Data = None) -> None:
    """Write a study's report, and keep its records, tables and figures below published/, small enough for git."""
    written = publish_study(study, results=results, data=data, say=say)
    out.print(f"report: {written.report.page}", markup=False)
    out.print(f"published: {written.folder}", markup=False)
    if written.report.refused:
        raise typer.Exit(1)


def compare(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    other: Annotated[
        Path,
        typer.Option(
            "--with",
            metavar="DIR",
            help="Results folder to compare with: its own trials, else those published below it.",
        ),
    ] = DEFAULT_RESULTS,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference of a trial's mean Dice (0 to 1) that passes.")
    ] = 0.0,
    overrides: Overrides = None,
) -> None:
    """Compare trials that were run twice, score by score: the same bits, or how far they are apart."""
    found = compare_folders(load_study(study, overrides or []), results=results, other=other)
    for one in found.trials:
        said = (
            f"{one.differing} of {one.values} scores differ"
            if one.differing
            else f"all {one.values} scores the same"
        )
        said += f", {one.missing} of them in one folder alone" if one.missing else ""
        said += f"; Dice {one.dice[0]:.4f} and {one.dice[1]:.4f}"
        out.print(f"{one.cell.spec.id}  {one.cell.label()}: {said}", markup=False)
    both, apart = len(found.trials), found.differing
    out.print(
        f"{both} of {found.planned} trials in both folders, {both - len(apart)} the same in every bit"
        + (f"; mean Dice at most {max(one.change for one in apart):.4f} apart" if apart else ""),
        markup=False,
    )
    if not found.agrees(tolerance):
        raise typer.Exit(1)


def say(sentence: str) -> None:
    """Print what a command does beside its result."""
    out.print(sentence, markup=False)


def _end(report: Report) -> None:
    say(f"report: {report.page}")
    if report.refused or report.damaged or report.without_curves:
        raise typer.Exit(1)
