"""Waiting for room on a full disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from harness.records.store import RESUME, Store

_LOOK = 5.0  # seconds between tries
_SPARE = 16 * 2**20  # bytes beside the next checkpoints


class DiskRoom:
    """Whether the results folder has room; once it had none, as much as all running trials may want.

    Args:
        store: whose folder it is.
        say: told when the room has gone and when it is back.
    """

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        self._store, self._say = store, say
        self._full = False
        self._looked = 0.0

    def note_full(self, message: str) -> None:
        """Take note of a full disk."""
        if not self._full:
            self._say(f"paused: {message}. Make room below {self._store.results}; the run then goes on.")
        self._full = True
        self._looked = time.monotonic()

    def has_room(self) -> bool:
        """Return whether there is room, as far as is known."""
        if self._full and time.monotonic() - self._looked >= _LOOK:
            self._looked = time.monotonic()
            self._full = not self._can_allocate()
            if not self._full:
                self._say("there is room again: the run goes on")
        return not self._full

    def _can_allocate(self) -> bool:
        """Try to take what is needed: free space alone says nothing of quotas."""
        sizes = [
            path.stat().st_size
            for path in self._store.results.glob(f"running/*/*/{RESUME}")
            if path.is_file()
        ]
        path = self._store.results / "running" / f".room-{os.getpid()}"
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, _SPARE + 2 * max(sizes, default=0))
            return True
        except OSError:
            return False
        finally:
            with suppress(OSError):
                path.unlink()
