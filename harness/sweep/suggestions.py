"""Searching: the trials of a study's suggestions, which of them are pruned, and what the sampler is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from harness.progress.missing import missing_cells
from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord
from harness.records.store import RESUME, RESUME_BEFORE, SELECTED, Store
from harness.search.findings import State, Suggestion
from harness.search.optuna_journal import Journal
from harness.study.cells import Cell
from harness.study.searches import rung_of
from harness.study.study import Study
from harness.sweep.agenda import Work


def search_work(study: Study, store: Store) -> Iterator[Work]:
    """Yield the trials of a study's search, batch by batch, then those that confirm its best suggestions.

    The next portion is to be asked for when every trial of the earlier one has ended.
    """
    assert study.search is not None
    journals = [Journal(store.results / study.name, arm) for arm in study.search.arms]
    while batch := [_RunningSuggestion(journal, one) for journal in journals for one in journal.batch()]:
        yield from _portions([node for running in batch for node in running.nodes], store)
        yield from _to_the_rung(batch, store)
        for journal in journals:
            _judge([running for running in batch if running.journal is journal], store)
        surviving = [cell for running in batch if not running.pruned for cell in running.cells]
        yield from _portions(surviving, store)
        for running in batch:
            running.journal.tell(*running.outcome(store))
    confirming = [trials for journal in journals for trials in journal.findings().confirming()]
    yield from _portions([node for trials in confirming for node in trials.nodes], store)
    yield from _portions([cell for trials in confirming for cell in trials.cells], store)


def _portions(cells: Iterable[Cell], store: Store, pause_at: int | None = None) -> Iterator[Work]:
    """Yield those of ``cells`` that are not done, none twice; what another search failed at or pruned is tried again."""
    distinct = {cell.spec.id: cell for cell in cells}
    missing = missing_cells(list(distinct.values()), store)
    store.reopen(cell.spec.id for cell in missing)
    if missing:
        yield Work(tuple(missing), pause_at)


@dataclass
class _RunningSuggestion:
    """A suggestion that is being run.

    Attributes:
        pruned: why it is not run to its end, where it is not.
    """

    journal: Journal
    suggestion: Suggestion
    pruned: str = ""
    cells: tuple[Cell, ...] = field(init=False, default=())
    nodes: tuple[Cell, ...] = field(init=False, default=())
    impossible: str = field(init=False, default="")
    rung: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        trials = self.journal.arm.suggested(self.suggestion.values)
        if isinstance(trials, str):
            self.impossible = trials
            return
        self.cells, self.nodes = trials.cells, trials.nodes
        prune = self.journal.arm.spec.prune
        self.rung = rung_of(prune, self.cells[0].spec.recipe) if prune else None

    def at_rung(self, store: Store) -> float | None:
        """Return the objective at the rung, where every seed has come so far."""
        values = [validation_dice(store, cell.spec.id, self.rung) for cell in self.cells] if self.rung else []
        return _mean(values)

    def failure(self, store: Store) -> str:
        """Return what made it fail, if anything did."""
        if self.impossible:
            return f"cannot be: {self.impossible}"
        for cell in self.cells:
            record = store.record(cell.spec.id)
            if record and record.status == "failed":
                cause = f"{record.cause.kind}: {record.cause.message}" if record.cause else "no cause"
                return f"seed {cell.spec.seed}: {cause}"
        return ""

    def outcome(self, store: Store) -> tuple[Suggestion, tuple[int, float] | None]:
        """Return what came of it, and its objective at the rung with the rung's step."""
        value = self.at_rung(store)
        rung = (self.rung, value) if self.rung is not None and value is not None else None
        failure = self.failure(store)
        if failure:
            return self._told("failed", None, failure), rung
        if self.pruned:
            return self._told("pruned", value, self.pruned), rung
        objective = _mean([_selected_dice(store, cell) for cell in self.cells])
        if objective is None:
            return self._told("failed", None, "its records have no validation Dice"), rung
        return self._told("complete", objective), rung

    def _told(self, state: State, objective: float | None, reason: str = "") -> Suggestion:
        return replace(self.suggestion, state=state, objective=objective, reason=reason)


def _to_the_rung(batch: Sequence[_RunningSuggestion], store: Store) -> Iterator[Work]:
    """Yield what brings suggestions to their rung, where some of them may be pruned there."""
    for rung in sorted(
        {running.rung for running in batch if running.rung is not None and _may_prune(running)}
    ):
        cells = [cell for running in batch if running.rung == rung for cell in running.cells]
        behind = [cell for cell in cells if validation_dice(store, cell.spec.id, rung) is None]
        yield from _portions(behind, store, rung)


def _may_prune(running: _RunningSuggestion) -> bool:
    prune = running.journal.arm.spec.prune
    return prune is not None and running.suggestion.number >= prune.warmup


def _judge(batch: Sequence[_RunningSuggestion], store: Store) -> None:
    """Prune the suggestions of an arm's batch that are too low at their rung, and what is left of failed ones."""
    if not any(running.rung is not None and _may_prune(running) for running in batch):
        return
    journal, prune = batch[0].journal, batch[0].journal.arm.spec.prune
    assert prune is not None
    values = {running.suggestion.number: running.at_rung(store) for running in batch}
    known = [value for value in values.values() if value is not None]
    reached = [*journal.rungs(before=min(values)), *known]
    threshold = float(np.quantile(reached, 1 - prune.keep)) if reached else 0.0
    for running in batch:
        value, failure = values[running.suggestion.number], running.failure(store)
        if failure:
            running.pruned = f"its suggestion failed, {failure}"
        elif _may_prune(running) and value is not None and value < threshold:
            running.pruned = (
                f"validation Dice {100 * value:.2f} % at step {running.rung}, below the best {100 * prune.keep:g} % "
                f"of {len(reached)} suggestions ({100 * threshold:.2f} %)"
            )
        if running.pruned:
            _publish_pruned(running, store)


def _publish_pruned(running: _RunningSuggestion, store: Store) -> None:
    """Leave a record of every trial of a suggestion that is not run to its end."""
    for cell in running.cells:
        spec = cell.spec
        attempt = store.claim(spec.id, Process.this()) if store.status(spec.id) == "pending" else None
        if attempt is None:
            continue
        for name in (RESUME, RESUME_BEFORE, SELECTED):
            (attempt.folder / name).unlink(missing_ok=True)
        cause = Cause(kind="pruned", message=running.pruned)
        attempt.publish(
            TrialRecord(
                id=spec.id, status="pruned", kind=spec.kind, spec=spec, cause=cause, attempts=attempt.number
            )
        )


def validation_dice(store: Store, id: str, step: int) -> float | None:
    """Return a trial's mean validation Dice after ``step`` updates, if it has come so far."""
    found = (line["mean"] for line in store.history(id) if line["step"] == step and "validation" in line)
    return next(found, None)


def _selected_dice(store: Store, cell: Cell) -> float | None:
    record = store.record(cell.spec.id)
    if record is None or record.status != "complete" or record.selected_step is None:
        raise RuntimeError(f"trial {cell.spec.id} of a suggestion is told about before it has ended")
    return validation_dice(store, cell.spec.id, record.selected_step)


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, where every value is known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
