"""Which trial is next, decided by the records on disk alone; knows nothing of Ray.

A run is a sequence of :class:`Work`. A plain study is one; a search is a generator that yields one after the
other, and whose code after a ``yield`` finds every trial of that work ended::

    def search(store):
        while suggestions := ...:
            yield Work(cells, pause_at=100)    # to a rung
            survivors = ...                    # reads histories and records
            yield Work(survivors)              # to the end

A trial of a work ends by being complete, failed or pruned on disk, whoever ran it, or by having paused at
``pause_at`` or later. Failed trials are not tried again here; who yields a work calls ``Store.reopen`` before,
where that is meant.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.errors import Interrupted
from harness.records.claims import SILENT
from harness.records.faults import cause_of
from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.cells import Cell

_POLL = 2.0  # seconds between looks at trials that another driver runs


@dataclass(frozen=True)
class Work:
    """Trials to run to their last step, or until they have paused at step ``pause_at``.

    The pretrainings that cells start from are cells too, and stand before them.
    """

    cells: tuple[Cell, ...]
    pause_at: int | None = None


@dataclass(frozen=True)
class Task:
    """One trial to run now, and where to pause."""

    spec: TrialSpec
    pause_at: int | None


def plain_work(cells: Sequence[Cell], store: Store) -> Iterator[Work]:
    """Yield the one work of a plain study: all ``cells`` to the end, what failed or was pruned once more."""
    store.reopen(cell.spec.id for cell in cells)
    yield Work(tuple(cells))


class Agenda:
    """Hands out each trial that has not ended, in order, once; takes back what did not come to its end.

    Args:
        work: drawn one by one, each when every trial of the one before has ended.
        store: where records are.
        say: told in a sentence whom a trial is waited for.
    """

    def __init__(
        self, work: Iterator[Work], store: Store, say: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self._work, self._store, self._say = work, store, say
        self._told: set[Process] = set()  # of whom it was said that they are waited for
        self._pause_at: int | None = None
        self._declared: frozenset[str] = frozenset()  # the trials of this work
        self._open: dict[str, TrialSpec] = {}  # of these, the ones that have not ended
        self._waiting: deque[TrialSpec] = deque()  # of these, again, the ones to look at, in order
        self._blocked: dict[str, list[TrialSpec]] = {}  # by the pretraining that they wait for
        self._handed: set[str] = set()
        self._elsewhere: set[str] = set()  # run by another driver
        self._looked = 0.0
        self.finished = False

    def next(self) -> Task | None:
        """Return a trial to run, or None where nothing can start now: look at ``finished``, or ask again."""
        self._look_elsewhere()
        while not self.finished:
            while self._waiting:
                spec = self._waiting.popleft()
                if self._may_start(spec):
                    self._handed.add(spec.id)
                    return Task(spec, self._pause_at)
            if self._open:
                return None
            self._draw()
        return None

    def returned(self, id: str) -> None:
        """Take note that a trial that was handed out has come back; what it came to is on disk."""
        self._handed.discard(id)
        if id in self._open and not self._close_if_ended(id):
            self._elsewhere.add(id)  # another process has it, or had it until just now

    def retry(self, id: str) -> None:
        """Put a trial that was handed out to the front, unless it has ended after all."""
        self._handed.discard(id)
        if id in self._open and not self._close_if_ended(id):
            self._waiting.appendleft(self._open[id])

    def reopen(self, spec: TrialSpec) -> None:
        """Put a trial of this work that has failed at the end: it was no fault of its own."""
        if spec.id in self._declared and spec.id not in self._open:
            self._store.reopen([spec.id])
            self._open[spec.id] = spec
            self._waiting.append(spec)

    def _draw(self) -> None:
        try:
            work = next(self._work, None)
        except OSError as error:  # not to be taken for its end, which is what a generator says from now on
            cause = cause_of(error)
            raise Interrupted(cause.kind, cause.message, cause.traceback) from error
        if work is None:
            self.finished = True
            return
        self._pause_at = work.pause_at
        self._open = {cell.spec.id: cell.spec for cell in work.cells}
        self._declared = frozenset(self._open)
        self._waiting.extend(self._open.values())

    def _may_start(self, spec: TrialSpec) -> bool:
        """Return whether a trial is to be handed out now; if not, it is put where it belongs."""
        if self._close_if_ended(spec.id):
            return False
        if self._store.status(spec.id) == "running":
            self._elsewhere.add(spec.id)
            self._say_who_has(spec.id)
            return False
        if spec.pretraining is None:
            return True
        needed = self._store.status(spec.pretraining)
        if needed in ("failed", "pruned"):
            publish_failure(
                spec,
                self._store,
                Cause(kind="pretraining", message=f"pretraining {spec.pretraining} {needed}"),
            )
            self.returned(spec.id)
            return False
        if needed != "complete" and spec.pretraining in self._open:
            self._blocked.setdefault(spec.pretraining, []).append(spec)
            return False
        return True  # a pretraining that nobody is to run is a failure that the trial will name itself

    def _say_who_has(self, id: str) -> None:
        claim = self._store.owner(id)
        if claim is None or claim.driver in self._told:
            return
        self._told.add(claim.driver)
        silent = self._store.silent_for(id)
        self._say(
            f"waiting for {id} and what else {claim.driver} runs: {claim.worker} gave a sign {silent:.0f} s ago; taken over "
            f"at once where it is seen to have died, else after {SILENT:.0f} s without a sign"
        )

    def _close_if_ended(self, id: str) -> bool:
        if not self._has_ended(id):
            return False
        del self._open[id]
        self._elsewhere.discard(id)
        self._waiting.extendleft(reversed(self._blocked.pop(id, [])))
        return True

    def _has_ended(self, id: str) -> bool:
        status = self._store.status(id)
        if status == "pending" and self._pause_at is not None:
            return (self._store.paused_at(id) or -1) >= self._pause_at
        return status in ("complete", "failed", "pruned")

    def _look_elsewhere(self) -> None:
        """Close what another driver has ended, and take over what it has left."""
        if not self._elsewhere or time.monotonic() - self._looked < _POLL:
            return
        self._looked = time.monotonic()
        for id in sorted(self._elsewhere):
            if not self._close_if_ended(id) and self._store.status(id) == "pending":
                self._elsewhere.discard(id)
                self._waiting.appendleft(self._open[id])


def publish_failure(spec: TrialSpec, store: Store, cause: Cause) -> None:
    """Record a trial as failed that could not record it itself; not where another live process owns it."""
    attempt = store.claim(spec.id, Process.this())
    if attempt is not None:
        record = TrialRecord(id=spec.id, status="failed", kind=spec.kind, spec=spec, cause=cause)
        attempt.publish(record.model_copy(update={"attempts": attempt.number}))
