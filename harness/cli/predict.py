"""``medctx predict``, ``ensemble`` and ``export``: what is done with trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_RESULTS, Data, Overrides, Processes, Results, StudyName
from harness.commands.ensemble import ensemble as make_ensembles
from harness.commands.export import export as export_network
from harness.commands.predict import predict as predict_images
from harness.console import console
from harness.study.expand import load_study

out = console()

Role = Annotated[str, typer.Option(metavar="student|teacher", help="Which of a trial's networks to use.")]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1, …; default: a GPU, where there is one.")
]


def predict(
    trials: Annotated[
        list[str],
        typer.Argument(metavar="TRIAL...", help="Ids, or their first characters; several are averaged."),
    ],
    inputs: Annotated[
        list[Path],
        typer.Option(
            "--input",
            metavar="DIR|FILE",
            help="Images; channels are <case>_0000, <case>_0001, … May be given again.",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where to write <case>.nii.gz.")],
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    role: Role = "student",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write <case>.probabilities.nii.gz too, of all classes.")
    ] = False,
    device: Device = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; default: as many as in training, which gives the same bits."),
    ] = None,
) -> None:
    """Predict images with the networks of finished trials. Finished images are kept. Exit status 1 if one failed."""
    found = predict_images(
        trials,
        inputs,
        output,
        results=results,
        data=data,
        role=role,
        probabilities=probabilities,
        device=device,
        threads=threads,
        say=lambda sentence: out.print(sentence, markup=False),
    )
    if found.problems:
        raise typer.Exit(1)


def ensemble(
    study: StudyName,
    over: Annotated[
        str, typer.Option(metavar="seed|fold", help="Average networks that differ only in this.")
    ] = "seed",
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    role: Role = "student",
    device: Device = None,
    workers: Processes = None,
    overrides: Overrides = None,
) -> None:
    """Average a study's networks over seeds or folds, score them, and add a table of these ensembles to its report.

    Nothing is trained. Exit status 1 where an ensemble is not made.
    """
    found = make_ensembles(
        load_study(study, overrides or [], data),
        over=over,
        results=results,
        data=data,
        role=role,
        device=device,
        workers=workers,
        say=lambda sentence: out.print(sentence, markup=False),
    )
    out.print(f"report: {found.report.page}", markup=False)
    if found.problems or found.report.refused:
        raise typer.Exit(1)


def export(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="An id, or its first characters.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    format: Annotated[
        str,
        typer.Option(
            metavar="torchscript|onnx|monai-bundle", help="A bundle is run by python -m monai.bundle."
        ),
    ] = "torchscript",
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    role: Role = "student",
) -> None:
    """Write a trained network for other tools, with the preprocessing described beside it."""
    network = export_network(trial, output, format=format, results=results, data=data, role=role)
    out.print(f"exported: {network}", markup=False)
