"""What ``medctx trial`` does: one trial in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.arguments import Folder, StudyLike, study_of
from harness.data.caches import data_folder
from harness.errors import UserError
from harness.progress.known import known_study
from harness.progress.missing import missing_cells
from harness.progress.same_data import check_data
from harness.records import preemption
from harness.records.schema import TrialRecord
from harness.records.store import Store
from harness.records.weights import keep_weights
from harness.study.cells import Cell
from harness.study.study import Study

if TYPE_CHECKING:
    from harness.trial.profile import Profile


def trial(
    study: StudyLike,
    id: str,
    *,
    results: Folder = "results",
    data: Folder | None = None,
    checkpoint_minutes: float = 5.0,
    loaders: int | None = None,
) -> Iterator[tuple[Cell, TrialRecord | None]]:
    """Run one planned trial in this process, and before it the pretraining that it lacks.

    Yields:
        each of them with its record; None where another live process runs it.

    Raises:
        UserError: not one trial has such an id, or its data are missing or broken.
        Interrupted: it was asked to stop.
    """
    declared, root, store = study_of(study, data), data_folder(data), Store(Path(results))
    cells, needed = _cells_of(declared, id, store)
    check_data(cells, missing_cells(needed, store), store, root)
    keep_weights(store.results, declared.weights)
    from harness.trial.run import run_trial
    from harness.trial.settings import RunSettings

    preemption.listen()
    settings = RunSettings(store.results, root, declared.keep, checkpoint_minutes, loaders=loaders)
    for cell in needed:
        yield cell, run_trial(cell.spec, settings)


def profile(
    study: StudyLike,
    id: str,
    *,
    results: Folder = "results",
    data: Folder | None = None,
    loaders: int | None = None,
) -> Profile:
    """Run some steps of one planned trial, of which nothing is recorded, and return what they consist of.

    Raises:
        UserError: not one trial has such an id, or its data are missing or broken.
    """
    declared, root, store = study_of(study, data), data_folder(data), Store(Path(results))
    cells, needed = _cells_of(declared, id, store)
    check_data(cells, needed[-1:], store, root)
    from harness.trial.profile import profile_trial
    from harness.trial.settings import RunSettings

    return profile_trial(needed[-1].spec, RunSettings(store.results, root, loaders=loaders))


def _cells_of(study: Study, id: str, store: Store) -> tuple[Sequence[Cell], Sequence[Cell]]:
    """Return all trials of a study, and the one with an id, after the pretraining that it starts from.

    Raises:
        UserError: not one trial has such an id.
    """
    whole = known_study(study, store).whole
    cells = (*whole.nodes, *whole.cells)
    matching = [cell for cell in cells if cell.spec.id.startswith(id)]
    if len(matching) != 1:
        raise UserError(
            f"trial {id!r}", f"{len(matching)} trials of study {study.name!r} with this id", "one",
            "See the ids with 'medctx plan'.",
        )  # fmt: skip
    return cells, whole.with_nodes(matching)
