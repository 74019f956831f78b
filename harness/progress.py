"""What a running study shows: one refreshed line on a terminal, one line per finished trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from harness.agenda import Work
from harness.store import Store
from harness.study import Cell

_TICK = 1.0  # seconds between looks at the disk
_QUIET = 300.0  # seconds between lines where there is no terminal


def label(cell: Cell) -> str:
    """Return a short name of a cell for people."""
    factors = cell.factors
    parts = [
        factors["architecture"],
        f"{factors['method']}{' pretraining' if cell.spec.kind == 'pretrain' else ''}",
        f"{factors['shots']} shots",
        f"seed {factors['seed']}",
    ]
    parts += [f"{key}={value}" for key, value in factors.items() if "." in key]
    return " · ".join(map(str, parts))


class Board:
    """Follows trials by what lies on disk.

    Args:
        store: where their records are.
        console: where to print.
    """

    def __init__(self, store: Store, console: Console) -> None:
        self._cells: dict[str, Cell] = {}
        self._store, self._console = store, console
        self._open: dict[str, Cell] = {}
        self._lock = Lock()
        self._failed = 0
        self._started = self._spoke = time.monotonic()
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

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Follow the trials in a thread as long as this context lasts."""
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as bar:
            task = bar.add_task("starting workers", total=len(self._cells))
            thread = Thread(target=self._follow, args=(bar, task), daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
                self._look(bar, task)

    def _follow(self, bar: Progress, task: object) -> None:
        while not self._stop.wait(_TICK):
            self._look(bar, task)

    def _look(self, bar: Progress, task: object) -> None:
        running = []
        published, begun = self._store.touched()  # two listings, however many trials there are
        with self._lock:
            touched = [(id, cell) for id, cell in self._open.items() if id in published or id in begun]
        for id, cell in touched:
            status = self._store.status(id)
            if status == "running":
                running.append(cell)
            elif status in ("complete", "failed", "pruned"):
                del self._open[id]
                self._say_finished(cell, status)
        done = len(self._cells) - len(self._open)
        text = f"{done - self._failed} done, {len(running)} running, {self._failed} failed, {self._time_left(done)}"
        bar.update(task, completed=done, total=len(self._cells), description=text)  # type: ignore[arg-type]
        if not self._console.is_terminal and time.monotonic() - self._spoke > _QUIET:
            self.say(text + "; " + "; ".join(map(self._where, running)))

    def _say_finished(self, cell: Cell, status: str) -> None:
        if status == "failed":
            self._failed += 1
            record = self._store.record(cell.spec.id)
            cause = record.cause if record else None
            self.say(f"failed    {cell.spec.id}  {label(cell)}: {cause.message if cause else ''}")
            if cause and cause.traceback:
                self.say("          " + cause.traceback.strip().replace("\n", "\n          "))
        else:
            self.say(f"{status:<8}  {cell.spec.id}  {label(cell)}")

    def say(self, text: str) -> None:
        """Print a line beside the summary."""
        self._console.print(text, markup=False, highlight=False)
        self._spoke = time.monotonic()

    def _where(self, cell: Cell) -> str:
        line = self._store.progress(cell.spec.id) or {}
        return f"{label(cell)} at step {line.get('step', 0)}"

    def _time_left(self, done: int) -> str:
        if not done:
            return "time left unknown"
        seconds = (time.monotonic() - self._started) / done * len(self._open)
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
