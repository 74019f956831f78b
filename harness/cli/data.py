"""``medctx data``: fetch datasets, check them, suggest a study for them, and write layout twins."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from harness import registry
from harness.console import console
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.data.check_report import CheckReport, DataFinding
    from harness.data.datasets.contract import Dataset

app = typer.Typer(help="Fetch and check datasets; suggest a study; write layout twins.", no_args_is_help=True)
out = console()

DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="DATASET", help="A name of 'medctx list datasets', or nnunet:FOLDER or msd:FOLDER."
    ),
]
Root = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="MEDCTX_DATA", help="Folder that holds datasets."),
]


@app.command()
def fetch(dataset: DatasetName, data: Root = None) -> None:
    """Download a dataset, or say where to get it and how to lay out its files."""
    entry = registry.load("dataset", dataset)
    from harness.data.fetch import DECATHLON, fetch_decathlon

    if dataset in DECATHLON:
        if data is None:
            raise UserError("--data", "nothing", "a folder to put the dataset in", "Name it with --data DIR.")
        out.print(f"{dataset}: {fetch_decathlon(dataset, data)}", markup=False)
        return
    if not entry.layouts:
        out.print(f"{dataset} needs no files", markup=False)
        return
    where = entry.register or "it is a folder of your own"
    out.print(f"{dataset} has to be fetched by hand: {where}", markup=False)
    out.print(f"source: {entry.source}", markup=False)
    for layout in entry.layouts:
        out.print(f"  {layout.name}: {' or '.join(layout.places)} below the data root", markup=False)


@app.command()
def check(
    dataset: DatasetName,
    data: Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    most: Annotated[int, typer.Option(min=1, help="How many findings of one kind to print.")] = 5,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Overview figure, .png, .pdf or .svg. Default: beside the caches."),
    ] = None,
) -> None:
    """Read every file of a dataset, list all that is wrong, and show sizes and volumes in a table and a figure.

    An error ends a run too; what is fixed a run puts right by itself. Exit status 1 where there is an error.
    """
    entry = registry.load("dataset", dataset)()
    from harness.data.check_dataset import check_dataset

    with Progress(*Progress.get_default_columns(), console=out, transient=True, disable=as_json) as progress:
        task = progress.add_task("reading", total=None)
        found = check_dataset(
            entry, data, lambda done, planned: progress.update(task, completed=done, total=planned), dataset
        )
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        _print_overview(found, entry)
        _print_findings(found.findings, most)
        if found.parts:
            out.print(f"default split: {found.parts.text()} ({found.rule})", markup=False)
            if warning := found.parts.warning():
                out.print(f"warning: {warning}; split.folds tests every case once", markup=False)
        counts = Counter(finding.level for finding in found.findings)
        parts = ", ".join(f"{counts[level]} {level}" for level in ("error", "warning", "fixed"))
        out.print(f"{dataset}: {found.cases} cases; findings: {parts}", markup=False)
    if found.facts and (figure or not as_json):
        drawn = _draw(dataset, entry, found, figure)
        if not as_json:
            out.print(f"overview: {drawn}", markup=False)
    if found.errors:
        raise typer.Exit(1)


def _draw(name: str, entry: Dataset, found: CheckReport, figure: Path | None) -> str:
    """Write the overview figure; return where, or why not where nobody asked for it by name."""
    from harness.data.caches import cache_root
    from harness.records.schema import safe_name
    from harness.reporting.figures.dataset import write_overview

    path = figure or cache_root() / "checks" / f"{safe_name(name)}.png"
    try:
        write_overview(name, entry, found, path)
    except OSError as error:
        if figure:
            raise UserError(
                path, f"a file that cannot be written ({error.strerror})", "one that can", "Name another."
            ) from error
        return f"not drawn, {path} cannot be written"
    return str(path)


def _print_overview(found: CheckReport, entry: Dataset) -> None:
    from harness.data.case_statistics import COLUMNS, statistics_notes, statistics_rows

    if not found.facts:
        return
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(COLUMNS):
        table.add_column(column, no_wrap=True, justify="left" if number == 0 else "right")
    for row in statistics_rows(found.facts, entry):
        table.add_row(*row)
    out.print(table, width=120, crop=False)  # never cut, also in a pipe
    for note in statistics_notes(found.facts):
        out.print(note, markup=False)


def _print_findings(findings: Sequence[DataFinding], most: int) -> None:
    for level in ("error", "warning", "fixed"):
        for code in dict.fromkeys(one.code for one in findings if one.level == level):
            own = [one for one in findings if (one.level, one.code) == (level, code)]
            out.print(f"{level} {code}: {len(own)}", markup=False)
            for one in own[:most]:
                where = f"{one.case}: " if one.case else ""
                out.print(f"  {where}{one.file} {one.message}. {one.remedy}", markup=False)
            if len(own) > most:
                out.print(f"  and {len(own) - most} more; see all with --json", markup=False)


@app.command()
def twin(
    dataset: DatasetName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, the data root of the twin.")],
    layout: Annotated[str | None, typer.Option(metavar="NAME", help="Default: the dataset's own.")] = None,
    cases: Annotated[int, typer.Option(min=1, help="Patients of each part of the split.")] = 4,
) -> None:
    """Write a small synthetic folder with the layout, names, headers and labels of a dataset."""
    from harness.data.layout_twins import write_twin

    out.print(f"{dataset}: {write_twin(dataset, folder, layout, cases)}", markup=False)


@app.command()
def suggest(
    dataset: DatasetName,
    data: Root = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory of the device that will train, e.g. 8GB; default: that of this machine's GPU, or enough for a CPU core.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new .yaml file. Default: the study is printed.")
    ] = None,
) -> None:
    """Write a study for a dataset: patch, spacing, batch, intensities, augmentation and network by nnU-Net's rules.

    Each line says which rule gave it; docs/suggest.md tells the rules. The study runs as it is.
    """
    from harness.commands.suggest import suggest as find_suggestion

    shown = out.is_terminal  # else its blank lines would stand in the file
    with Progress(
        *Progress.get_default_columns(), console=out, transient=True, disable=not shown
    ) as progress:
        task = progress.add_task("reading", total=None)
        found = find_suggestion(
            dataset,
            data=data,
            memory=memory,
            output=output,
            on_progress=lambda done, planned: progress.update(task, completed=done, total=planned),
        )
    if found.path is None:
        print(found.text, end="")
        return
    file = shlex.quote(str(found.path))
    out.print(
        f"wrote {file}: look at it with 'medctx plan {file}', start it with 'medctx run {file}'", markup=False
    )
