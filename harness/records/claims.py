"""Who works on a trial, and why nobody does: the files of that in a trial's folder below ``<results>/running``.

A claim is stale when its worker, or the driver that started the worker, is known to have died. Where that cannot be
known, because they run on another machine or in another container, it is stale when it has not been touched for a while.
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.files.whole import write_text
from harness.records.processes import Process
from harness.records.schema import Cause

_CLAIM, _RELEASED, _NOTES = "claim.json", "released.json", "notes.txt"
SILENT = 600.0  # seconds without a touch, after which a claim is stale whose owner cannot be seen


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
            owners = Process.of_json(claim["worker"]), Process.of_json(claim["driver"])
            return cls(*owners, claim["attempt"])
        except (OSError, ValueError, KeyError, TypeError):  # none, or cut by a fault of the storage
            return None

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
    return claim is not None and why_stale(home, claim) is None


def why_stale(home: Path, claim: Claim) -> str | None:
    """Return why a claim does not count any more; None where it does."""
    states = {owner.state(): owner for owner in (claim.driver, claim.worker)}
    if "dead" in states:
        return f"{states['dead']} has died"
    if "unknown" not in states:
        return None
    silent = silent_for(home)
    return f"{claim.worker} gave no sign for {silent:.0f} s" if silent >= SILENT else None


def silent_for(home: Path) -> float:
    """Return the seconds since a claim was last touched; infinite where there is none."""
    try:
        return max(0.0, time.time() - (home / _CLAIM).stat().st_mtime)
    except FileNotFoundError:  # its owner has ended meanwhile
        return math.inf


def add_note(home: Path, sentence: str) -> None:
    """Write down what has happened to a trial that its record should tell."""
    with suppress(OSError), (home / _NOTES).open("a") as file:
        file.write(f"{sentence}\n")


def read_notes(home: Path) -> list[str]:
    """Return what has happened to a trial, in order."""
    try:
        return (home / _NOTES).read_text().splitlines()
    except OSError:
        return []


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
