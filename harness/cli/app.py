"""The command ``medctx``: parse, delegate, print."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import __version__
from harness.cli.board import Board
from harness.cli.cluster import app as launch_app
from harness.cli.cluster import cluster_wait, doctor
from harness.cli.data import app as data_app
from harness.cli.evaluate import evaluate
from harness.cli.listing import list_, table_of
from harness.cli.options import DEFAULT_RESULTS, AsJson, Data, Overrides, Results, StudyName
from harness.cli.plan import forecast
from harness.cli.plugins import check_plugin
from harness.cli.report import compare, known_of, publish, report, rescore, taken_over, write_study_report
from harness.cli.status import describe
from harness.console import console, counted
from harness.errors import Interrupted, UserError
from harness.progress.missing import Known, check_data, content_of, missing_cells, needed_cells, states_of
from harness.publishing.records import published_note, published_states
from harness.records.store import Store
from harness.study.cells import Cell
from harness.study.expand import load_study
from harness.study.selection import choose_cells, plan_entry, search_entry, skip_lines
from harness.sweep.agenda import Work, plain_work
from harness.trial.trackers import check_trackers

app = typer.Typer(
    help="Benchmarks and ablations for 3D medical image segmentation: from a study file to a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_TRY_AGAIN = 75  # EX_TEMPFAIL: a batch system may start the same command again

out = console()


def main() -> None:
    """Run the command line; a mistake of the user's ends in one line and exit status 2."""
    sys.path.append(str(Path.cwd()))  # where a study's module:Class names may lie
    try:
        app()
    except UserError as error:
        print(f"medctx: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"medctx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def plan(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure what each arm takes on this device, and set its share.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials at a time, for the forecast.")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Print the trials of a study, the cells that are skipped with their reasons, and what it will take."""
    loaded = load_study(study, overrides or [])
    store = Store(results, writable=probe)
    entries = [plan_entry(cell) for cell in (*loaded.nodes, *loaded.cells)]
    skipped = [{**skip.factors, "reason": skip.reason} for skip in loaded.skipped]
    searches = [search_entry(arm) for arm in loaded.search.arms] if loaded.search else []
    if as_json:
        found = {"study": loaded.name, "trials": entries, "skipped": skipped}
        print(json.dumps(found | ({"search": searches} if searches else {}), indent=1))
        return
    out.print(loaded.question)
    hidden = {"subset"} if loaded.nodes else {"kind", "subset"}
    keys = [key for key in dict.fromkeys(key for entry in entries for key in entry) if key not in hidden]
    table = table_of(keys)
    for entry in entries:
        table.add_row(*(str(entry.get(key, "")) for key in keys))
    out.print(table)
    out.print(counted(len(entries), "trial"))
    for search in searches:
        out.print(_search_line(search), markup=False)
    for line in skip_lines(loaded):
        out.print(line, markup=False)
    forecast(out, known_of(loaded, store), store, data, probe, workers)


def _search_line(search: dict[str, Any]) -> str:
    parameters = "; ".join(f"{key} {values}" for key, values in search["parameters"].items())
    return (
        f"to come: {search['trials']} trials of {search['suggestions']} suggestions for {search['arm']} "
        f"({parameters}), then {search['confirming']} that confirm the best"
    )


@app.command()
def run(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time; default: one for each core, or GPU.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Run these trials alone; keys as in 'plan --json'."),
    ] = None,
    overrides: Overrides = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray cluster; default: start Ray here.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs of this machine to use; default: all that are found.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0.0, help="Minutes between checkpoints of a trial.")
    ] = 5.0,
    tensorboard: Annotated[bool, typer.Option(help="Write event files beside each history.")] = True,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Log curves to MLflow too.")] = False,
    wandb: Annotated[bool, typer.Option("--wandb", help="Log curves to Weights & Biases too.")] = False,
) -> None:
    """Compute what a study lacks, and write its report. Finished trials are never run again."""
    loaded = load_study(study, overrides or [])
    if loaded.search and only:
        raise UserError(
            "--only", " ".join(only), "none with a study that searches: all of a suggestion's trials count",
            "Leave it out, or remove arms from a copy of the study.",
        )  # fmt: skip
    wanted = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}
    trackers = [name for name, is_wanted in wanted.items() if is_wanted]
    check_trackers(trackers)
    store = Store(results)
    store.tidy()
    known = taken_over(loaded, store, only or [], lambda spec: content_of(spec, data))
    cells = choose_cells(known.study, only or [])
    missing = missing_cells(cells, store)
    out.print(loaded.question)
    suggested = [store.status(cell.spec.id) for cell in known.suggested]
    planned, to_run = len(cells) + len(suggested), len(missing)
    to_run += suggested.count("pending") + suggested.count("running")
    out.print(
        f"{counted(planned, 'trial')}: {planned - to_run} done, {to_run} to run; "
        f"{counted(len(loaded.skipped), 'cell')} skipped"
        + (f"; {known.to_come} to come of searches" * known.searching)
    )
    if missing or known.searching:
        with out.status("reading and preprocessing data"):
            check_data(known.cells, missing or cells, store, data)
        from harness.sweep.ray_tune import sweep

        board = Board(store, out)
        with board.shown(), _stopped_in_order():
            sweep(
                board.following(_work(known, missing, store)),
                store,
                data_root=data,
                keep=loaded.keep,
                workers=workers,
                threads=max(cell.spec.recipe.threads for cell in cells),
                address=address,
                gpus=gpus,
                checkpoint_minutes=checkpoint_minutes,
                trackers=trackers,
                say=board.say,
            )
        store.tidy()
        known = known_of(loaded, store)
    refused = write_study_report(known, store, data).refused
    chosen = choose_cells(known.study, only or [])
    states = states_of(chosen, store)
    failed = [cell for cell in needed_cells(chosen, states) if states[cell.spec.id] != "complete"]
    for cell in failed:
        out.print(f"failed: {cell.spec.id}  {cell.label()}", markup=False)
    for found in known.findings:
        out.print(f"search of {found.arm.name}: {found.summary()}", markup=False)
    if failed or refused or not all(found.best() for found in known.findings):
        raise typer.Exit(1)


def _work(known: Known, missing: Sequence[Cell], store: Store) -> Iterator[Work]:
    """Yield the trials that are known, then those of searches."""
    yield from plain_work(missing, store)
    if known.searching:
        from harness.sweep.suggestions import search_work

        yield from search_work(known.declared, store)


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Exit with the status that asks to be started again, where a trial or a run was asked to stop."""
    try:
        yield
    except Interrupted as stop:
        out.print(f"{stop.cause}: {stop.message}", markup=False)
        raise typer.Exit(_TRY_AGAIN if stop.cause == "preempted" else 1) from None


@app.command()
def status(
    study: StudyName, results: Results = DEFAULT_RESULTS, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Print how many trials are complete, running, failed and pending, and explain those that failed, run or were put down."""
    loaded = load_study(study, overrides or [])
    store = Store(results, writable=False)
    known = known_of(loaded, store)
    published = published_states(known.cells, store)
    states = states_of(known.cells, store) | published
    cells = needed_cells(known.cells, states)
    found = Counter(states[cell.spec.id] for cell in cells)
    found["pending"] += known.to_come
    counts = {"planned": len(cells) + known.to_come}
    counts |= {name: found[name] for name in ("complete", "running", "failed", "pending")}
    counts |= {"skipped": len(loaded.skipped), "pruned": found["pruned"]}
    if as_json:
        print(json.dumps(counts))
        return
    out.print(", ".join(f"{count} {name}" for name, count in counts.items()))
    if published:
        out.print(published_note(published, loaded), markup=False)
    for cell in cells:
        for line in describe(cell, states[cell.spec.id], store):
            out.print(line, markup=False)
    for one in known.findings:
        out.print(f"search of {one.arm.name}: {one.summary()}", markup=False)
    for line in skip_lines(loaded):
        out.print(line, markup=False)


app.command("list")(list_)
app.command()(report)
app.command()(rescore)
app.command()(publish)
app.command()(compare)
app.command()(evaluate)
app.command("check-plugin")(check_plugin)
app.command()(doctor)
app.command(hidden=True)(cluster_wait)
app.add_typer(data_app, name="data")
app.add_typer(launch_app, name="launch")


@app.command()
def trial(
    study: StudyName,
    id: Annotated[str, typer.Argument(metavar="ID", help="As 'plan' prints it, or its first characters.")],
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    overrides: Overrides = None,
    checkpoint_minutes: Annotated[float, typer.Option(min=0.0)] = 5.0,
) -> None:
    """Run one planned trial in this process, for debugging; a pretraining that it lacks is run before it."""
    loaded = load_study(study, overrides or [])
    store = Store(results)
    whole = known_of(loaded, store).whole
    cells = (*whole.nodes, *whole.cells)
    matching = [cell for cell in cells if cell.spec.id.startswith(id)]
    if len(matching) != 1:
        raise UserError(
            f"trial {id!r}",
            f"{len(matching)} trials of study {loaded.name!r} with this id",
            "one",
            "See the ids with 'medctx plan'.",
        )
    needed = whole.with_nodes(matching)
    check_data(cells, missing_cells(needed, store), store, data)
    from harness.records import preemption
    from harness.trial.run import RunSettings, run_trial

    preemption.listen()
    settings = RunSettings(store.results, data, loaded.keep, checkpoint_minutes)
    for cell in needed:
        with _stopped_in_order():
            record = run_trial(cell.spec, settings)
        if record is None:
            out.print(f"another live process runs {cell.spec.id}", markup=False)
            raise typer.Exit(1)
        kind = "pretraining " if cell.spec.kind == "pretrain" else ""
        out.print(f"{kind}{record.status}: {store.trials / record.id}", markup=False)
        if record.cause:
            out.print(f"{record.cause.kind}: {record.cause.message}\n{record.cause.traceback}", markup=False)
        if record.status != "complete":
            raise typer.Exit(1)
