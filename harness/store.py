"""Records on disk: claimed by one owner, published by atomic rename, found by trial id.

::

    <results>/trials/<id>/            a published record: complete, failed or pruned
    <results>/running/<id>/claim.json who works on it: worker and driver, with host, pid and process start
    <results>/running/<id>/<attempt>/ what that worker writes; renamed to trials/<id> at the end
    <results>/running/<id>/paused.json  the step at which it stopped on request, with a checkpoint

In an attempt's folder, ``resume.pt`` is the newest checkpoint to go on from, and ``selected.pt`` the weights that
the selection rule chose, which become ``checkpoint.pt`` of the record.

A claim is stale when its worker or the driver that started the worker has died (same host), or when it has
not been touched for a while (another host). Whoever takes over a stale claim goes on from the newest
checkpoint of the earlier attempts. Every change of a claim, and publishing, happens under one lock, so a
worker that outlives its driver cannot publish once it has been replaced.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from harness.errors import ClaimLost, UserError
from harness.record import HISTORY, Status, TrialRecord, read_history, read_record, write_record, write_text

HEARTBEAT = 20.0  # seconds between touches of a claim
_SILENT = 600.0  # seconds after which another host's claim is stale
RESUME, SELECTED, CHECKPOINT = "resume.pt", "selected.pt", "checkpoint.pt"
_PAUSED = "paused.json"
_REPEATS = ("error", "nan")  # failures after which a trial starts anew, not from its checkpoint


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


class Store:
    """The records below a results folder.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, results: Path, writable: bool = True) -> None:
        self.results = results.resolve()
        self.trials, self._running = self.results / "trials", self.results / "running"
        if writable:
            self._check_writable()

    def _check_writable(self) -> None:
        try:
            for folder in (self.trials, self._running):
                folder.mkdir(parents=True, exist_ok=True)
            probe = self._running / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                self.results,
                f"a results folder that cannot be written ({error.strerror})",
                "a folder to write records to",
                "Name another with --results DIR.",
            ) from error

    def record(self, id: str) -> TrialRecord | None:
        """Return the published record of a trial, or None."""
        folder = self.trials / id
        if not (folder / "trial.json").is_file():
            return None
        try:
            return read_record(folder)
        except ValueError:
            raise _damaged(folder) from None

    def status(self, id: str) -> Status:
        """Return the state of a trial, as far as the disk tells."""
        folder = self.trials / id
        if (folder / "trial.json").is_file():
            try:
                return json.loads((folder / "trial.json").read_text())["status"]
            except (ValueError, KeyError):
                raise _damaged(folder) from None
        return "running" if self._is_live(self._running / id) else "pending"

    def progress(self, id: str) -> dict[str, Any] | None:
        """Return the last line of the history of a running trial, or None."""
        claim = _read_claim(self._running / id)
        if claim is None:
            return None
        path = self._running / id / claim["attempt"] / HISTORY
        try:
            return json.loads(path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2])
        except (OSError, json.JSONDecodeError):
            return None

    def history(self, id: str) -> list[dict[str, Any]]:
        """Return the history of a trial: the record's, or that which another attempt would go on from."""
        folder = self.trials / id
        if not folder.is_dir():
            newest = _newest_checkpoint(self._running / id)
            if newest is None:
                return []
            folder = newest
        return list(read_history(folder))

    def paused_at(self, id: str) -> int | None:
        """Return the step at which a trial paused that nobody has gone on with, or None."""
        try:
            return int(json.loads((self._running / id / _PAUSED).read_text())["step"])
        except (OSError, ValueError):
            return None

    def claim(self, id: str, driver: Process) -> Attempt | None:
        """Return an attempt at a trial, or None where it is complete or another live process owns it.

        The attempt begins with the newest checkpoint of the earlier ones.
        """
        folder = self._running / id
        with self.locked():
            if self.status(id) == "complete" or self._is_live(folder):
                return None
            folder.mkdir(exist_ok=True)
            earlier = _newest_checkpoint(folder)
            attempt = Attempt(self, id, folder, _next_name(folder))
            attempt.start(driver, earlier)
            (folder / _PAUSED).unlink(missing_ok=True)
        return attempt

    def locked(self) -> FileLock:
        """Return the lock under which claims change and records are published."""
        return FileLock(self._running / ".lock", timeout=60)

    def reopen(self, ids: Iterable[str]) -> None:
        """Make the failed and pruned trials among ``ids`` pending again.

        They will go on from their checkpoints, but after a bug, whose traces the weights may carry.
        """
        for id in ids:
            with self.locked():
                record = self.record(id)
                if record is None or record.status == "complete":
                    continue
                failed, home = self.trials / id, self._running / id
                repeats = record.cause is not None and record.cause.kind in _REPEATS
                if not repeats and (failed / RESUME).is_file():
                    home.mkdir(exist_ok=True)
                    (failed / "trial.json").unlink()
                    failed.rename(home / _next_name(home))
                else:
                    shutil.rmtree(failed)

    def drop_claim(self, id: str, driver: Process) -> None:
        """Give up a claim of one of this driver's workers, of which the driver knows that it has stopped."""
        with self.locked():
            claim = _read_claim(self._running / id)
            if claim and Process(**claim["driver"]) == driver:
                (self._running / id / "claim.json").unlink()

    def _is_live(self, folder: Path) -> bool:
        claim = _read_claim(folder)
        if claim is None:
            return False
        owners = [Process(**claim[who]) for who in ("worker", "driver")]
        if any(owner.is_dead() for owner in owners):
            return False
        if all(owner.host == socket.gethostname() for owner in owners):
            return True
        return time.time() - (folder / "claim.json").stat().st_mtime < _SILENT


class Attempt:
    """One process's work on one trial, in a folder of its own.

    Attributes:
        folder: where to write.
        number: 1 for the first attempt.
    """

    def __init__(self, store: Store, id: str, home: Path, name: str) -> None:
        self._store, self._id, self._home, self._name = store, id, home, name
        self.folder = home / name
        self.number = int(name.rpartition("-")[2])
        self._beat = 0.0

    def start(self, driver: Process, earlier: Path | None) -> None:
        """Take the claim, and checkpoint and history of the earlier attempt to go on from; holds the lock."""
        self.folder.mkdir()
        if earlier is not None:
            for name in (SELECTED, HISTORY, RESUME):
                if (earlier / name).is_file():
                    _link(earlier / name, self.folder / name)
        owner = {"worker": asdict(Process.this()), "driver": asdict(driver), "attempt": self._name}
        write_text(self._home / "claim.json", json.dumps(owner))
        self._beat = time.monotonic()

    def heartbeat(self) -> None:
        """Show that the owner lives; cheap enough for every step.

        Raises:
            ClaimLost: another process owns the trial now.
        """
        if time.monotonic() - self._beat > HEARTBEAT:
            self.check_owned()
            os.utime(self._home / "claim.json")
            self._beat = time.monotonic()

    def check_owned(self) -> None:
        """Raise ClaimLost where another process owns the trial now."""
        claim = _read_claim(self._home)
        if claim is None or claim["attempt"] != self._name:
            raise ClaimLost(f"trial {self._id} is owned by another process")

    def publish(self, record: TrialRecord) -> None:
        """Write the record last, and give the folder its final name.

        Raises:
            ClaimLost: another process owns the trial now.
        """
        write_record(self.folder, record)
        final = self._store.trials / self._id
        with self._store.locked():
            self.check_owned()
            if final.exists():  # an earlier failure
                shutil.rmtree(final)
            if record.status == "complete":
                if (self.folder / SELECTED).is_file():
                    (self.folder / SELECTED).rename(self.folder / CHECKPOINT)
                (self.folder / RESUME).unlink(missing_ok=True)
            self.folder.rename(final)
            shutil.rmtree(self._home)

    def pause(self, step: int) -> None:
        """Give up the claim as :meth:`release` does, and leave word that the trial stands at ``step``."""
        self.release(paused=json.dumps({"step": step}))

    def release(self, paused: str | None = None) -> None:
        """Give up the claim and keep what was written, so that another attempt can go on."""
        with self._store.locked():
            self.check_owned()
            if paused is not None:
                write_text(self._home / _PAUSED, paused)
            (self._home / "claim.json").unlink()


def _read_claim(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "claim.json").read_text())
    except (OSError, json.JSONDecodeError):
        return None


def _newest_checkpoint(home: Path) -> Path | None:
    """Return the folder of the attempt with the newest checkpoint, of equals the later one."""
    found = [path.parent for path in home.glob(f"attempt-*/{RESUME}")]

    def age(attempt: Path) -> tuple[int, int]:
        return (attempt / RESUME).stat().st_mtime_ns, int(attempt.name.rpartition("-")[2])

    return max(found, key=age, default=None)


def _next_name(home: Path) -> str:
    return f"attempt-{sum(path.is_dir() for path in home.iterdir()) + 1}"


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it whole where the file system has no links.

    Writers replace these files and never change them in place, so that sharing one is safe.
    """
    try:
        os.link(source, target)
    except OSError:
        partial = target.with_name(f".{target.name}")
        shutil.copy2(source, partial)
        partial.replace(target)


def _damaged(folder: Path) -> UserError:
    return UserError(
        folder / "trial.json",
        "a damaged record",
        "what a trial wrote",
        "Remove the folder; the trial runs again.",
    )
