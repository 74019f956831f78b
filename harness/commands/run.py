"""What ``medctx run`` does: compute what a study lacks, and write its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.cluster.node import cost_of_precisions
from harness.cluster.precisions import OTHER_PRECISION, half_precisions, slow_precision
from harness.commands.arguments import Folder, StudyLike, study_of
from harness.commands.report import write_known
from harness.commands.results import StudyResults
from harness.console import counted
from harness.data.caches import data_folder
from harness.errors import UserError
from harness.progress.adoption import adopt_published
from harness.progress.known import KnownStudy, known_study
from harness.progress.missing import missing_cells
from harness.progress.same_data import check_data, contents_of
from harness.records import preemption
from harness.records.store import Store
from harness.records.weights import keep_weights
from harness.study.cells import Cell
from harness.study.selection import choose_cells
from harness.study.study import Study
from harness.sweep.agenda import Work, plain_work
from harness.sweep.watch import OnProgress, Watch
from harness.trial.trackers import check_trackers


def run(
    study: StudyLike,
    *,
    results: Folder = "results",
    data: Folder | None = None,
    workers: int | None = None,
    only: Sequence[str] = (),
    address: str | None = None,
    gpus: int | None = None,
    loaders: int | None = None,
    checkpoint_minutes: float = 5.0,
    trackers: Sequence[str] = ("tensorboard",),
    on_progress: OnProgress = lambda progress: None,
) -> StudyResults:
    """Compute what a study lacks, write its report, and return its results. Finished trials are never run again.

    Args:
        study: a study, its name, or the path of its file.
        results: folder of records and reports.
        data: folder of the datasets; by default ``MEDCTX_DATA``.
        workers: trials at a time; by default one for each GPU, or as many as the cores allow.
        only: ``KEY=VALUE`` filters on the keys of a plan's trials; several values of a key are alternatives.
        address: of a running Ray cluster; by default Ray is started on this machine.
        gpus: of this machine to use; by default all.
        loaders: processes that draw a trial's batches; by default on a GPU what the cores allow. They change no score.
        checkpoint_minutes: between checkpoints of a trial.
        trackers: copies of the training curves, of ``tensorboard``, ``mlflow``, ``wandb``.
        on_progress: told about once a second how far the run is, and of each event at once.

    Raises:
        UserError: a mistake in the study, the data or an argument; nothing that was computed is lost.
        Interrupted: it was asked to stop; the same call goes on.
    """
    declared, root, store = study_of(study, data), data_folder(data), Store(Path(results))
    _check_arguments(declared, only, trackers)
    store.tidy()
    watch = Watch(store, on_progress)
    with watch.running():
        watch.enter("looking for what is missing")
        watch.say(declared.question)
        _set_aside_damaged(declared, store, watch)
        adoption = adopt_published(declared, store, only, lambda spec: contents_of(spec, root))
        known, cells = adoption.known, choose_cells(adoption.known.study, only)
        missing = missing_cells(cells, store)
        for line in (*adoption.lines(store), _what_to_run(known, cells, missing, store)):
            watch.say(line)
        if missing or known.searching:
            _prepare(known, missing or cells, store, root, watch, alone=address is None)
            from harness.sweep.ray_tune import sweep

            sweep(
                watch.following(_work(known, missing, store)), store, data_root=root, keep=declared.keep,
                workers=workers, loaders=loaders, threads=_most_threads(cells), address=address, gpus=gpus,
                checkpoint_minutes=checkpoint_minutes, trackers=trackers, say=watch.say,
            )  # fmt: skip
            store.tidy()
            known = known_study(declared, store)
        watch.enter("writing the report")
        report = write_known(known, store, root, say=watch.say)
    return StudyResults(known, store.results, tuple(only), report)


def _check_arguments(study: Study, only: Sequence[str], trackers: Sequence[str]) -> None:
    check_trackers(trackers)
    if study.search and only:
        raise UserError(
            "--only", " ".join(only), "none with a study that searches: all of a suggestion's trials count",
            "Leave it out, or remove arms from a copy of the study.",
        )  # fmt: skip


def _prepare(
    known: KnownStudy, cells: Sequence[Cell], store: Store, root: Path | None, watch: Watch, *, alone: bool
) -> None:
    """Refuse data that cannot be trained on, and put weights from elsewhere where every worker finds them."""
    watch.enter("reading and preprocessing data")
    check_data(known.cells, cells, store, root)
    keep_weights(store.results, known.declared.weights)
    preemption.interrupt_and_remember()
    if alone:  # of a cluster's nodes, the doctor asks each
        _tell_slow_precisions(cells, watch)
    watch.enter("starting Ray")


def _tell_slow_precisions(cells: Sequence[Cell], watch: Watch) -> None:
    """Say what will take many times as long on this machine as its study may count on."""
    for name, cost in cost_of_precisions(half_precisions(cells)).items():
        if sentence := slow_precision(name, cost):
            watch.say(f"warning: {sentence} here. {OTHER_PRECISION}")


def _set_aside_damaged(study: Study, store: Store, watch: Watch) -> None:
    for sentence in store.set_aside_damaged(cell.spec.id for cell in known_study(study, store).cells):
        watch.say(sentence)


def _most_threads(cells: Sequence[Cell]) -> int:
    return max(cell.spec.recipe.threads for cell in cells)


def _what_to_run(known: KnownStudy, cells: Sequence[Cell], missing: Sequence[Cell], store: Store) -> str:
    suggested = [store.status(cell.spec.id) for cell in known.suggested]
    planned, to_run = len(cells) + len(suggested), len(missing)
    to_run += suggested.count("pending") + suggested.count("running")
    return (
        f"{counted(planned, 'trial')}: {planned - to_run} done, {to_run} to run, {len(known.declared.skipped)} skipped"
        + (f"; {known.to_come} to come of searches" * known.searching)
    )


def _work(known: KnownStudy, missing: Sequence[Cell], store: Store) -> Iterator[Work]:
    """Yield the trials that are known, then those of searches."""
    yield from plain_work(missing, store)
    if known.searching:
        from harness.sweep.suggestions import search_work

        yield from search_work(known.declared, store)
