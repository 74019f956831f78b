"""What a running study shows: a refreshed summary on a terminal, one line per finished trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Event, Lock, Thread

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.records.store import Store
from harness.study.cells import Cell
from harness.sweep.agenda import Work
from harness.sweep.gpus import Gpus

_TICK = 1.0  # seconds between looks at the disk
_SHOWN = 12  # running trials on a terminal
_QUIET = 300.0  # seconds between lines where there is no terminal


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
        self._running: list[str] = []
        self._dice: dict[str, float] = {}  # of the student at the last validation
        self._gpus = Gpus()
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
        thread = Thread(target=self._follow, daemon=True)
        live = Live(get_renderable=self._summary, console=self._console, refresh_per_second=2, transient=True)
        with live if self._console.is_terminal else nullcontext():
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
                self._look()

    def _follow(self) -> None:
        while not self._stop.wait(_TICK):
            self._look()

    def _look(self) -> None:
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
        self._running = [self._where(cell) for cell in running]
        if not self._console.is_terminal and time.monotonic() - self._spoke > _QUIET:
            self.say("; ".join([self._counts(), *self._running]))

    def _summary(self) -> Text:
        """Return what is refreshed on a terminal: counts, and where each running trial stands."""
        lines = [self._counts(), *(f"  {line}" for line in self._running[:_SHOWN])]
        if len(self._running) > _SHOWN:
            lines.append(f"  and {len(self._running) - _SHOWN} more")
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def _counts(self) -> str:
        done = len(self._cells) - len(self._open)
        parts = [f"{done - self._failed} of {len(self._cells)} done", f"{len(self._running)} running"]
        parts += [f"{self._failed} failed", *self._gpus.use(), self._time_left(done)]
        return ", ".join(parts)

    def _say_finished(self, cell: Cell, status: str) -> None:
        if status == "failed":
            self._failed += 1
            record = self._store.record(cell.spec.id)
            cause = record.cause if record else None
            self.say(f"failed    {cell.spec.id}  {cell.label()}: {cause.message if cause else ''}")
            if cause and cause.traceback:
                self.say("          " + cause.traceback.strip().replace("\n", "\n          "))
        else:
            self.say(f"{status:<8}  {cell.spec.id}  {cell.label()}")

    def say(self, text: str) -> None:
        """Print a line beside the summary."""
        self._console.print(text, markup=False, highlight=False)
        self._spoke = time.monotonic()

    def _where(self, cell: Cell) -> str:
        lines = self._store.progress(cell.spec.id)
        step = lines[-1]["step"] if lines else 0
        scores = [line["mean"] for line in lines if "mean" in line]
        if scores:
            self._dice[cell.spec.id] = scores[-1]
        dice = self._dice.get(cell.spec.id)
        score = "" if dice is None else f", Dice {dice:.3f}"
        return f"{cell.label()}: step {step} of {cell.spec.recipe.steps}{score}"

    def _time_left(self, done: int) -> str:
        if not done:
            return "time left unknown"
        seconds = (time.monotonic() - self._started) / done * len(self._open)
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
