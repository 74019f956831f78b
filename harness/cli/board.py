"""How a running study is shown: a refreshed summary on a terminal, its news in lines everywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.sweep.watch import Progress

_SHOWN = 12  # running trials on a terminal
_QUIET = 55.0  # seconds between lines where there is no terminal


class Board:
    """Prints what a run tells.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = Progress(stage="reading the study")
        self._spoke = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Print the news, and keep the rest for the summary."""
        entered = progress.stage and progress.stage != self._last.stage
        self._last = progress
        for line in progress.news:
            self._say(line)
        if entered and not self._console.is_terminal:
            self._say(progress.stage)
        if not self._console.is_terminal and time.monotonic() - self._spoke > _QUIET:
            self._say("; ".join([str(progress), *progress.running]))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep a summary on a terminal as long as this context lasts."""
        live = Live(get_renderable=self.summary, console=self._console, refresh_per_second=2, transient=True)
        with live if self._console.is_terminal else nullcontext():
            yield

    def summary(self) -> Text:
        """Return what is refreshed on a terminal: counts, and where each running trial stands."""
        running = self._last.running
        lines = [str(self._last), *(f"  {line}" for line in running[:_SHOWN])]
        if len(running) > _SHOWN:
            lines.append(f"  and {len(running) - _SHOWN} more")
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def _say(self, text: str) -> None:
        with suppress(OSError, ValueError):  # what cannot be printed must not end what is computed
            self._console.print(text, markup=False, highlight=False)
        self._spoke = time.monotonic()
