"""What a running study has to tell: how far it is, what runs, and what has happened; read off the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread

from harness.records.store import Store
from harness.study.cells import Cell
from harness.sweep.agenda import Work
from harness.sweep.gpus import Gpus

_TICK = 1.0  # seconds between looks at the disk


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        planned: trials that are known so far.
        done: of these, the ones that have ended, failed ones too.
        failed: of these.
        running: what runs: the trial, its step, its last validation Dice.
        seconds_left: by the steps that were taken so far; None before the first.
        gpus: how busy they are, in words; empty without one.
        news: what has happened since the last time, in sentences.
        stage: what is being done before trials run.
    """

    planned: int = 0
    done: int = 0
    failed: int = 0
    running: tuple[str, ...] = ()
    seconds_left: float | None = None
    gpus: tuple[str, ...] = ()
    news: tuple[str, ...] = ()
    stage: str = ""

    def __str__(self) -> str:
        """Return the counts in a line."""
        if self.stage:
            return self.stage
        parts = [f"{self.done - self.failed} of {self.planned} done", f"{len(self.running)} running"]
        return ", ".join([*parts, f"{self.failed} failed", *self.gpus, self._time_left()])

    def _time_left(self) -> str:
        if self.seconds_left is None:
            return "time left unknown"
        if self.seconds_left == 0 and self.running:
            return "the last are being tested"
        if self.seconds_left > 90:
            return f"about {self.seconds_left / 60:.0f} min left"
        return f"about {self.seconds_left:.0f} s left"


OnProgress = Callable[[Progress], None]


class _Pace:
    """How fast trials take their steps, all workers together."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}  # step of a trial when it was first seen
        self._now: dict[str, int] = {}
        self._since: float | None = None

    def reached(self, id: str, step: int) -> None:
        """Take note of where a running trial is."""
        self._since = time.monotonic() if self._since is None else self._since
        self._first.setdefault(id, step)
        self._now[id] = step

    def ended(self, id: str, steps: int) -> None:
        """Take note of a trial that has taken all its steps."""
        self._first.setdefault(id, 0)
        self.reached(id, steps)

    def seconds_for(self, steps: Mapping[str, int]) -> float | None:
        """Return how long trials take to come to their last step; None where no step was seen so far."""
        taken = sum(self._now[id] - first for id, first in self._first.items())
        if self._since is None or not taken:
            return None
        left = sum(max(0, last - self._now.get(id, 0)) for id, last in steps.items())
        return (time.monotonic() - self._since) / taken * left


class Watch:
    """Follows trials by what lies on disk.

    Args:
        store: where their records are.
        on_progress: told about once a second while trials run, and of each sentence at once.
    """

    def __init__(self, store: Store, on_progress: OnProgress) -> None:
        self._store, self._on_progress = store, on_progress
        self._cells: dict[str, Cell] = {}
        self._open: dict[str, Cell] = {}
        self._lock = Lock()
        self._failed = 0
        self._running: tuple[str, ...] = ()
        self._dice: dict[str, float] = {}  # of the student at the last validation
        self._notes: dict[str, int] = {}  # of a trial that were told
        self._stage = ""
        self._gpus = Gpus()
        self._pace = _Pace()
        self._stop = Event()

    def follow(self, cells: Iterable[Cell]) -> None:
        """Follow these trials too; may be called from any thread, and again for the same trial."""
        with self._lock:
            new = {cell.spec.id: cell for cell in cells if cell.spec.id not in self._cells}
            self._cells |= new
            self._open |= new

    def following(self, work: Iterable[Work]) -> Iterator[Work]:
        """Pass on each work, and follow its trials from then on."""
        for item in work:
            self.follow(item.cells)
            yield item

    def say(self, sentence: str) -> None:
        """Pass on a sentence."""
        self._tell(sentence)

    def enter(self, stage: str) -> None:
        """Pass on what is being done now; empty while trials run."""
        self._stage = stage
        self._tell()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look at the trials as long as this context lasts."""
        thread = Thread(target=self._look_again_and_again, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self.look()

    def _look_again_and_again(self) -> None:
        while not self._stop.wait(_TICK):
            self.look()

    def look(self) -> None:
        """Look at the disk once, and tell what is there."""
        running: list[Cell] = []
        news: list[str] = []
        published, begun = self._store.published_and_begun()  # two listings, however many trials there are
        with self._lock:
            touched = [(id, cell) for id, cell in self._open.items() if id in published or id in begun]
        for id, cell in touched:
            status = self._store.status(id)
            if status == "running":
                running.append(cell)
                news += self._new_notes(id)
            elif status in ("complete", "failed", "pruned"):
                del self._open[id]
                if status == "complete":
                    self._pace.ended(id, cell.spec.recipe.steps)
                news += self._ended(cell, status)
        if running or news:
            self._stage = ""
        self._running = tuple(self._where(cell) for cell in running)
        self._tell(*news)

    def _new_notes(self, id: str) -> list[str]:
        """Return what has happened to a running trial, such as that it was taken over, since the last look."""
        notes = self._store.notes(id)
        seen, self._notes[id] = self._notes.get(id, len(notes)), len(notes)
        return [f"{id}: {note}" for note in notes[seen:]]

    def _tell(self, *news: str) -> None:
        done = len(self._cells) - len(self._open)
        left = self._pace.seconds_for({id: cell.spec.recipe.steps for id, cell in list(self._open.items())})
        gpus = tuple(self._gpus.use())
        self._on_progress(
            Progress(len(self._cells), done, self._failed, self._running, left, gpus, news, self._stage)
        )

    def _ended(self, cell: Cell, status: str) -> Iterator[str]:
        if status != "failed":
            yield f"{status:<8}  {cell.spec.id}  {cell.label()}"
            return
        self._failed += 1
        record = self._store.record(cell.spec.id)
        cause = record.cause if record else None
        yield f"failed    {cell.spec.id}  {cell.label()}: {cause.message if cause else ''}"
        if cause and cause.traceback:
            yield "          " + cause.traceback.strip().replace("\n", "\n          ")

    def _where(self, cell: Cell) -> str:
        lines = self._store.progress(cell.spec.id)
        step = lines[-1]["step"] if lines else 0
        self._pace.reached(cell.spec.id, step)
        scores = [line["mean"] for line in lines if "mean" in line]
        if scores:
            self._dice[cell.spec.id] = scores[-1]
        dice = self._dice.get(cell.spec.id)
        score = "" if dice is None else f", Dice {dice:.3f}"
        return f"{cell.label()}: step {step} of {cell.spec.recipe.steps}{score}"
