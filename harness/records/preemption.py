"""Requests to stop: by a signal to this process, or by a word in a file that its driver keeps for all workers.

A cluster announces that it takes a machine back by SIGTERM, SLURM also by SIGUSR1, and a terminal that is closed by SIGHUP,
to whichever process it knows. The driver passes it on through the results folder, which every node shares.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
_LOOK = 1.0  # seconds between looks at a file
_GO = "go"  # an empty file says stop: that can be said on a full disk
_received: list[int] = []


def listen(*more: signal.Signals) -> None:
    """Take SIGTERM, SIGUSR1, SIGHUP and ``more`` as requests to stop; a second one of ``more`` interrupts as usual."""

    def take(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        if number in more:
            signal.signal(number, signal.default_int_handler)

    for number in (*_SIGNALS, *more):
        signal.signal(number, take)


def interrupt_and_remember() -> None:
    """Let Ctrl-C interrupt as usual, and remember it: a library that is being imported may swallow the exception."""
    _received.clear()

    def take(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, take)


def is_signalled() -> bool:
    """Return whether this process was asked to stop."""
    return bool(_received)


class StopFile:
    """The file by which a driver asks its workers to stop.

    It is there from the start and rewritten in place: opening a file that exists asks a network file system
    for its newest content, while the absence of one may be remembered for a minute.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked = 0.0
        self._stop = False

    def create(self) -> None:
        """Write the file, which says go on."""
        self._path.write_text(_GO)

    def ask_to_stop(self) -> None:
        """Say stop."""
        os.truncate(self._path, 0)

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def asks_to_stop(self) -> bool:
        """Return whether it says stop; looks about once a second, so it is cheap enough for every step."""
        now = time.monotonic()
        if not self._stop and now - self._looked >= _LOOK:
            self._looked = now
            with suppress(OSError):
                self._stop = self._path.read_text() == ""
        return self._stop
