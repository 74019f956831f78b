"""Who works on a trial, and why nobody does: the files of that in a trial's folder below ``<results>/running``.

A claim is stale when its worker or the driver that started the worker has died (same host), or when it has
not been touched for a while (another host).
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from harness.records.schema import Cause, write_text

_CLAIM, _RELEASED = "claim.json", "released.json"
_SILENT = 600.0  # seconds after which another host's claim is stale


@dataclass(frozen=True)
class Process:
    """A process that another process can check for life."""

    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Process:
        """Return the current process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def is_dead(self) -> bool:
        """Return whether it ran on this host and runs no more."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.started) > 1
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True)
class Claim:
    """Who works on a trial, in which attempt."""

    worker: Process
    driver: Process
    attempt: str

    @classmethod
    def read(cls, home: Path) -> Claim | None:
        """Return the claim on the trial with the folder ``home``, whether its owner lives or not."""
        try:
            claim = json.loads((home / _CLAIM).read_text())
        except (OSError, json.JSONDecodeError):
            return None
        return cls(Process(**claim["worker"]), Process(**claim["driver"]), claim["attempt"])

    def write(self, home: Path) -> None:
        """Take the trial; the caller holds its lock."""
        write_text(home / _CLAIM, json.dumps(asdict(self)))

    @staticmethod
    def touch(home: Path) -> None:
        """Show other hosts that the owner lives."""
        os.utime(home / _CLAIM)

    @staticmethod
    def remove(home: Path) -> None:
        """Give the trial up; the caller holds its lock."""
        (home / _CLAIM).unlink()


def is_claimed(home: Path) -> bool:
    """Return whether a process that lives, as far as can be known from here, works on a trial."""
    claim = Claim.read(home)
    if claim is None:
        return False
    owners = (claim.worker, claim.driver)
    if any(owner.is_dead() for owner in owners):
        return False
    if all(owner.host == socket.gethostname() for owner in owners):
        return True
    try:
        return time.time() - (home / _CLAIM).stat().st_mtime < _SILENT
    except FileNotFoundError:  # its owner has ended meanwhile
        return False


@dataclass(frozen=True)
class Release:
    """Why a trial was put down: a kind of fault or ``paused``, ``where`` (host/attempt), and at which step."""

    kind: str
    message: str
    where: str
    traceback: str = ""
    step: int | None = None

    @classmethod
    def read(cls, home: Path) -> Release | None:
        """Return why the trial with the folder ``home`` was put down that nobody has gone on with, or None."""
        try:
            return cls(**json.loads((home / _RELEASED).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, home: Path) -> None:
        """Leave word, where the disk takes it: that it is full may be why."""
        with suppress(OSError):
            write_text(home / _RELEASED, json.dumps(asdict(self)))

    @staticmethod
    def remove(home: Path) -> None:
        """Forget it: somebody has gone on with the trial."""
        (home / _RELEASED).unlink(missing_ok=True)

    def cause(self) -> Cause:
        """Return it as a record would have it."""
        return Cause(kind=self.kind, message=self.message, traceback=self.traceback)
