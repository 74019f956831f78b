"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A shipped study, or the path of a .yaml file.")
]
Results = Annotated[Path, typer.Option(metavar="DIR", help="Folder of records and reports.")]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", envvar="MEDCTX_DATA", help="Folder that holds the datasets.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Replace a setting of the study, e.g. recipe.steps=100."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Trials at a time; default: one for each core, or GPU.")
]
Loaders = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Processes that draw a trial's batches; default: none on a CPU; on a GPU as many as it needs, 8 where that is not known.",
    ),
]
Processes = Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core.")]
CheckpointMinutes = Annotated[float, typer.Option(min=0.0, help="Minutes between checkpoints of a trial.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_RESULTS = Path("results")


def results_line(results: Path) -> str:
    """Return which folder of results is read, and that it is empty where it is."""
    folder = results.resolve()
    if not folder.is_dir():
        return f"results: {folder}, which is not there yet (--results DIR names another folder)"
    if not any(any((folder / part).glob("[!.]*")) for part in ("trials", "running", "published")):
        return f"results: {folder}, which has no trial yet (--results DIR names another folder)"
    return f"results: {folder}"
