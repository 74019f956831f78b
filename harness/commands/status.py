"""What ``medctx status`` does: how many trials are in which state, and why those that are not complete stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.commands.arguments import Folder, StudyLike, study_of
from harness.progress.known import known_study
from harness.progress.missing import Standing, standing_of
from harness.records.faults import rule_of
from harness.records.schema import history_tail
from harness.records.store import Store
from harness.study.axes import REPEATED
from harness.study.cells import Cell
from harness.study.selection import skip_lines

_LINES = 3  # of the history or of a traceback
_MOST_READ = 1000  # trials whose scores are read for what the study detects so far


@dataclass(frozen=True)
class TrialStatus:
    """A trial that failed, runs, or was put down.

    Attributes:
        cell: the trial.
        state: ``failed``, ``running``, ``paused`` or ``damaged``.
        cause: the kind of fault; empty of one that runs.
        host, attempt: where it ran last, and in which attempt.
        message: what happened; empty of one that runs.
        traceback: its last lines, where there is one.
        history: otherwise the last entries of its history.
        action: what to do; empty of one that runs.
        notes: who took it over from whom, and what was put aside.
        silent: seconds since its owner gave a sign of life; 0 of one that does not run.
    """

    cell: Cell
    state: str
    cause: str = ""
    host: str = ""
    attempt: str = ""
    message: str = ""
    traceback: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    action: str = ""
    notes: tuple[str, ...] = ()
    silent: float = 0.0


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes:
        counts: trials that are ``planned``, ``complete``, ``running``, ``failed``, ``pending``, ``skipped``, ``pruned``.
        standing: the state of each trial.
        trials: those that failed, run, or were put down.
    """

    counts: Mapping[str, int]
    standing: Standing
    trials: tuple[TrialStatus, ...]

    @property
    def repeated(self) -> bool:
        """Whether two seeds of some arm are complete, and trials not so many that reading their scores takes long."""
        done = [cell for cell in self.standing.cells if self.standing.states[cell.spec.id] == "complete"]
        arms = Counter(
            tuple((key, str(value)) for key, value in cell.factors.items() if key not in REPEATED)
            for cell in done
        )
        return len(done) <= _MOST_READ and any(number > 1 for number in arms.values())

    def search_lines(self) -> list[str]:
        """Return how far the search of each arm is."""
        return [f"search of {one.arm.name}: {one.summary()}" for one in self.standing.known.findings]

    def skip_lines(self) -> list[str]:
        """Return what is skipped and why."""
        return list(skip_lines(self.standing.known.declared))


def status(study: StudyLike, *, results: Folder = "results") -> Status:
    """Return how many trials are complete, running, failed and pending, and what is known of those in between.

    Args:
        study: a study, its name, or the path of its file.
        results: folder of records; nothing is written.

    Raises:
        UserError: the study is wrong, or a record cannot be read.
    """
    store = Store(Path(results), writable=False)
    known = known_study(study_of(study), store)
    standing = standing_of(known, store)
    cells = standing.cells
    found = Counter(standing.states[cell.spec.id] for cell in cells)
    found["pending"] += known.to_come + found["damaged"]
    counts = {"planned": len(cells) + known.to_come}
    counts |= {name: found[name] for name in ("complete", "running", "failed", "pending")}
    counts |= {"skipped": len(known.declared.skipped), "pruned": found["pruned"]}
    trials = (_trial_status(cell, standing.states[cell.spec.id], store) for cell in cells)
    return Status(counts, standing, tuple(one for one in trials if one))


def _trial_status(cell: Cell, state: str, store: Store) -> TrialStatus | None:
    """Return what is known of a trial that is not simply complete or waiting."""
    id = cell.spec.id
    if state == "running" and (owner := store.owner(id)):
        folder = store.attempt_folder(id, owner.attempt)
        host, attempt = owner.worker.host, owner.attempt.rpartition("-")[2]
        return TrialStatus(
            cell, state, host=host, attempt=attempt, history=tuple(_last(folder)),
            notes=tuple(store.notes(id)), silent=store.silent_for(id),
        )  # fmt: skip
    if state == "failed" and (record := store.record(id)) and record.cause:
        host = record.environment.host if record.environment else ""
        told = _told(record.cause.kind, record.cause.message, record.cause.traceback, store.trials / id)
        return TrialStatus(cell, state, host=host, attempt=str(record.attempts), **told)
    if state == "pending" and (released := store.released(id)):
        host, _, attempt = released.where.rpartition("/")
        folder = store.attempt_folder(id, attempt)
        told = _told(released.kind, released.message, released.traceback, folder)
        return TrialStatus(cell, "paused", host=host, attempt=attempt.rpartition("-")[2], **told)
    if state == "damaged":
        action = "Give 'medctx run': it is kept aside and run again."
        return TrialStatus(cell, state, cause="damaged record", message=store.damage(id), action=action)
    return None


def _told(kind: str, message: str, traceback: str, folder: Path) -> dict[str, Any]:
    tail = tuple(traceback.strip().splitlines()[-_LINES:])
    return {
        "cause": kind, "message": message, "traceback": tail, "action": rule_of(kind).action,
        "history": () if tail else tuple(_last(folder)),
    }  # fmt: skip


def _last(folder: Path) -> Iterator[Mapping[str, Any]]:
    yield from history_tail(folder)[-_LINES:]
