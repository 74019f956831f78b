"""``medctx run`` and ``medctx trial``: what is computed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table

from harness.cli.board import Board
from harness.cli.options import (
    DEFAULT_RESULTS,
    CheckpointMinutes,
    Data,
    Loaders,
    Overrides,
    Results,
    StudyName,
    Workers,
)
from harness.commands.run import run as compute
from harness.commands.trial import profile as profile_one
from harness.commands.trial import trial as run_one
from harness.console import console, counted
from harness.errors import Interrupted
from harness.study.expand import load_study

if TYPE_CHECKING:
    from harness.trial.profile import Profile

_TRY_AGAIN = 75  # EX_TEMPFAIL: a batch system may start the same command again

out = console()

Only = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Run only these trials; the keys are the columns of 'plan'."),
]
Address = Annotated[
    str | None, typer.Option(help="Address of a running Ray cluster; default: start Ray here.")
]
Gpus = Annotated[
    int | None, typer.Option(min=0, help="GPUs of this machine to use; default: all that are found.")
]


def run(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    workers: Workers = None,
    only: Only = None,
    overrides: Overrides = None,
    address: Address = None,
    gpus: Gpus = None,
    loaders: Loaders = None,
    checkpoint_minutes: CheckpointMinutes = 5.0,
    tensorboard: Annotated[bool, typer.Option(help="Write event files beside each history.")] = True,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Log curves to MLflow too.")] = False,
    wandb: Annotated[bool, typer.Option("--wandb", help="Log curves to Weights & Biases too.")] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Write the report again whenever a trial ends; its page shows what runs."
        ),
    ] = False,
) -> None:
    """Train what a study lacks, and write its report. Finished trials are never run again."""
    wanted = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}
    board = Board(out)
    watched = _watched(study, results, data, overrides or []) if watch else nullcontext()
    with board.shown(), _stopped_in_order(), watched:
        found = compute(
            load_study(study, overrides or [], data),
            results=results,
            data=data,
            workers=workers,
            only=only or [],
            address=address,
            gpus=gpus,
            loaders=loaders,
            checkpoint_minutes=checkpoint_minutes,
            trackers=[name for name, is_wanted in wanted.items() if is_wanted],
            on_progress=board,
        )
    assert found.report is not None
    out.print(f"report: {found.report.page}", markup=False)
    for cell in found.failed:
        out.print(f"failed: {cell.spec.id}  {cell.label()}", markup=False)
    for one in found.known.findings:
        out.print(f"search of {one.arm.name}: {one.summary()}", markup=False)
    if found.report.refused or not found.is_complete:
        raise typer.Exit(1)


def trial(
    study: StudyName,
    id: Annotated[
        str, typer.Argument(metavar="ID", help="The id that 'plan' prints, or its first characters.")
    ],
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    overrides: Overrides = None,
    checkpoint_minutes: CheckpointMinutes = 5.0,
    loaders: Loaders = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time the parts of some steps, and record nothing.")
    ] = False,
) -> None:
    """Run one trial of a study in this process, for debugging. A pretraining that it needs is run first."""
    loaded = load_study(study, overrides or [], data)
    if profile:
        _print_profile(profile_one(loaded, id, results=results, data=data, loaders=loaders))
        return
    with _stopped_in_order():
        ran = run_one(
            loaded, id, results=results, data=data, checkpoint_minutes=checkpoint_minutes, loaders=loaders
        )
        for cell, record in ran:
            if record is None:
                out.print(f"another live process runs {cell.spec.id}", markup=False)
                raise typer.Exit(1)
            kind = "pretraining " if cell.spec.kind == "pretrain" else ""
            folder = results.resolve() / "trials" / record.id
            out.print(f"{kind}{record.status}: {folder}", markup=False)
            if record.cause:
                told = f"{record.cause.kind}: {record.cause.message}\n{record.cause.traceback}"
                out.print(told, markup=False)
            if record.status != "complete":
                raise typer.Exit(1)


def _print_profile(found: Profile) -> None:
    table = Table("part of a step", "share of the time", box=None, pad_edge=False)
    for name, share in found.shares.items():
        table.add_row(name, f"{100 * share:5.1f} %")
    out.print(table)
    device = "GPU" if found.device.type == "cuda" else "CPU"
    for line in (
        f"{found.seconds_per_step:.3g} s a step, over {counted(found.steps, 'step')} on the {device}",
        f"the {device} waited {100 * found.waiting:.1f} % of the time",
        f"trace, for chrome://tracing or ui.perfetto.dev: {found.trace}",
    ):
        out.print(line, markup=False, soft_wrap=True)


@contextmanager
def _watched(study: str, results: Path, data: Path | None, overrides: Sequence[str]) -> Iterator[None]:
    """Have another process write the report again as trials end, as long as this context lasts."""
    command = [sys.executable, "-m", "harness", "status", study, "--watch", "--results", str(results)]
    command += ["--data", str(data)] * (data is not None)
    command += [part for override in overrides for part in ("--set", override)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            yield
        finally:
            other.terminate()


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Exit with the status that asks to be started again, where a trial or a run was asked to stop."""
    try:
        yield
    except KeyboardInterrupt:
        _stopped()
    except Interrupted as stop:
        if stop.cause == "preempted":
            _stopped()
        out.print(f"{stop.cause}: {stop.message}", markup=False)
        raise typer.Exit(1) from None


def _stopped() -> NoReturn:
    out.print("Stopped. The same command goes on.")
    raise typer.Exit(_TRY_AGAIN) from None
