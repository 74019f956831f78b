"""What ``medctx trial`` does: one trial in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
    whole = known_study(declared, store).whole
    cells = (*whole.nodes, *whole.cells)
    matching = [cell for cell in cells if cell.spec.id.startswith(id)]
    if len(matching) != 1:
        raise UserError(
            f"trial {id!r}", f"{len(matching)} trials of study {declared.name!r} with this id", "one",
            "See the ids with 'medctx plan'.",
        )  # fmt: skip
    needed = whole.with_nodes(matching)
    check_data(cells, missing_cells(needed, store), store, root)
    keep_weights(store.results, declared.weights)
    from harness.trial.run import run_trial
    from harness.trial.settings import RunSettings

    preemption.listen()
    settings = RunSettings(store.results, root, declared.keep, checkpoint_minutes, loaders=loaders)
    for cell in needed:
        yield cell, run_trial(cell.spec, settings)
