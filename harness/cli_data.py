"""``medctx data``: fetch datasets, check them, and write layout twins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness import registry
from harness.errors import UserError

app = typer.Typer(help="Fetch and check datasets; write layout twins.", no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)

DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="As 'medctx list datasets' names it.")]
Root = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="MEDCTX_DATA", help="Folder that holds datasets."),
]


@app.command()
def fetch(dataset: DatasetName, data: Root = None) -> None:
    """Download a dataset, or say where to get it and how it has to lie."""
    entry = registry.load("dataset", dataset)
    from harness.data.fetch import DECATHLON
    from harness.data.fetch import fetch as download

    if dataset in DECATHLON:
        if data is None:
            raise UserError("--data", "nothing", "a folder to put the dataset in", "Name it with --data DIR.")
        out.print(f"{dataset}: {download(dataset, data)}", markup=False)
        return
    if not entry.layouts:
        out.print(f"{dataset} needs no files", markup=False)
        return
    out.print(f"{dataset} has to be fetched by hand: {entry.register}", markup=False)
    out.print(f"source: {entry.source}", markup=False)
    for layout in entry.layouts:
        out.print(f"  {layout.name}: {' or '.join(layout.places)} below the data root", markup=False)


@app.command()
def twin(
    dataset: DatasetName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, the data root of the twin.")],
    layout: Annotated[str | None, typer.Option(metavar="NAME", help="Default: the dataset's own.")] = None,
    cases: Annotated[int, typer.Option(min=1, help="Patients of each part of the split.")] = 4,
) -> None:
    """Write a small synthetic folder with the layout, names, headers and labels of a dataset."""
    from harness.data.twins import write_twin

    out.print(f"{dataset}: {write_twin(dataset, folder, layout, cases)}", markup=False)
