"""Records on disk: claimed by one owner, published by atomic rename, found by trial id.

::

    <results>/trials/<id>/            a published record: complete, failed or pruned
    <results>/running/<id>/claim.json who works on it: worker and driver, with host, pid and process start
    <results>/running/<id>/<attempt>/ what that worker writes; renamed to trials/<id> at the end
    <results>/running/<id>/released.json  why nobody works on it: a fault's kind, or paused at a step
    <results>/running/.driver-…       by which a driver asks its workers to stop
    <results>/running/.ended-…        what is being removed of a trial that has been published

In an attempt's folder, ``resume.pt`` is the newest checkpoint to go on from, ``resume-before.pt`` the one before it, and ``selected.pt`` the weights that
the selection rule chose, which become ``checkpoint.pt`` of the record.

Claims and releases are those of :mod:`harness.records.claims`. Whoever takes over a stale claim goes on from the newest
checkpoint of the earlier attempts. Every change of a claim, and publishing, happens under a lock that the trial
shares with few others, so a worker that outlives its driver cannot publish once it has been replaced.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from harness.errors import ClaimLost, Interrupted, UserError
from harness.files.locks import SharedLock
from harness.files.whole import whole
from harness.records.claims import Claim, Release, add_note, is_claimed, read_notes, silent_for, why_stale
from harness.records.damage import damage_of, write_sums
from harness.records.faults import rule_of
from harness.records.preemption import StopFile, is_signalled
from harness.records.processes import Process
from harness.records.schema import (
    HISTORY,
    Cause,
    Status,
    TrialRecord,
    history_tail,
    read_history,
    read_record,
    write_record,
)

HEARTBEAT = 20.0  # seconds between touches of a claim
RESUME, RESUME_BEFORE, SELECTED, CHECKPOINT = "resume.pt", "resume-before.pt", "selected.pt", "checkpoint.pt"
_ENDED = ".ended-"


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
        """Return the published record of a trial, or None; a damaged one is none."""
        folder = self.trials / id
        try:
            record = read_record(folder)
        except (FileNotFoundError, ValueError):
            return None
        return None if damage_of(folder) else record

    def status(self, id: str) -> Status:
        """Return the state of a trial, as far as the disk tells."""
        folder = self.trials / id
        published = folder.is_dir()
        if published and damage_of(folder) is None:
            return json.loads((folder / "trial.json").read_text())["status"]
        if is_claimed(self._running / id):
            return "running"
        return "damaged" if published else "pending"

    def damage(self, id: str) -> str:
        """Return what is wrong with the files of a trial's record; empty where nothing is."""
        folder = self.trials / id
        return (damage_of(folder) or "") if folder.is_dir() else ""

    def set_aside_damaged(self, ids: Iterable[str]) -> Iterator[str]:
        """Give damaged records another name, so that their trials run again; yield a sentence for each."""
        for id in ids:
            if not self.damage(id):
                continue
            with self.locked(id):
                if damage := self.damage(id):
                    kept = self._set_aside(id)
                    yield f"{id} is damaged ({damage}): kept as {kept}, and run again"

    def _set_aside(self, id: str) -> Path:
        """Give a record another name, under which nobody looks for it; the caller holds the lock of the trial."""
        folder = self.trials / id
        for number in count(1):
            kept = folder.with_name(f".damaged-{id}-{number}")
            if not kept.exists():
                folder.rename(kept)
                return kept
        raise AssertionError("numbers do not end")

    def published_and_begun(self) -> tuple[set[str], set[str]]:
        """Return the ids of all published trials, and of those that someone has begun and not ended."""
        published, begun = (
            {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")}
            for folder in (self.trials, self._running)
        )
        return published, begun

    def progress(self, id: str) -> list[dict[str, Any]]:
        """Return the last lines of the history of a running trial."""
        owner = self.owner(id)
        return history_tail(self.attempt_folder(id, owner.attempt)) if owner else []

    def history(self, id: str) -> list[dict[str, Any]]:
        """Return the history of a trial: the record's, or that which another attempt would go on from."""
        folder = self.trials / id
        if not folder.is_dir():
            newest = _newest_checkpoint(self._running / id)
            if newest is None:
                return []
            folder = newest
        return list(read_history(folder))

    def released(self, id: str) -> Release | None:
        """Return why a trial was put down that nobody has gone on with, or None."""
        return Release.read(self._running / id)

    def paused_at(self, id: str) -> int | None:
        """Return the step at which a trial paused that nobody has gone on with, or None."""
        released = self.released(id)
        return released.step if released else None

    def owner(self, id: str) -> Claim | None:
        """Return who works on a trial, alive or not."""
        return Claim.read(self._running / id)

    def notes(self, id: str) -> list[str]:
        """Return what has happened to a trial that is not published yet."""
        return read_notes(self._running / id)

    def silent_for(self, id: str) -> float:
        """Return the seconds since the owner of a trial gave a sign of life."""
        return silent_for(self._running / id)

    def attempt_folder(self, id: str, attempt: str) -> Path:
        """Return where an attempt at a trial writes."""
        return self._running / id / attempt

    def stop_file(self, driver: Process) -> StopFile:
        """Return the file by which a driver asks its workers to stop."""
        name = f".driver-{driver.host}-{driver.pid}-{driver.start}-{driver.namespace}"
        return StopFile(self._running / name)

    def claim(self, id: str, driver: Process) -> Attempt | None:
        """Return an attempt at a trial, or None where it is complete or another live process owns it.

        The attempt begins with the newest checkpoint of the earlier ones.
        """
        folder = self._running / id
        with self.locked(id):
            earlier = Claim.read(folder)
            stale = why_stale(folder, earlier) if earlier else None
            if self.status(id) == "complete" or (earlier and not stale):
                return None
            folder.mkdir(exist_ok=True)
            attempt = Attempt(self, id, folder, _next_name(folder), driver)
            attempt.start(_newest_checkpoint(folder))
            if earlier and stale:
                add_note(folder, f"{Process.this()} takes over from {earlier.attempt}: {stale}")
            Release.remove(folder)
        return attempt

    def locked(self, id: str) -> SharedLock:
        """Return the lock under which a trial's claim changes and its record is published.

        There are 256, so that hundreds of workers seldom wait for each other. A dead owner's is free at once:
        the operating system gives it back.
        """
        return SharedLock(self._running / f".lock-{id[:2]}")

    def reopen(self, ids: Iterable[str]) -> None:
        """Make the failed and pruned trials among ``ids`` pending again.

        They will go on from their checkpoints, but after a bug, whose traces the weights may carry.
        """
        for id in ids:
            if self.status(id) not in ("failed", "pruned"):
                continue
            with self.locked(id):
                record = self.record(id)
                if record is None or record.status == "complete":
                    continue
                failed, home = self.trials / id, self._running / id
                goes_on = record.cause is None or rule_of(record.cause.kind).next_run == "checkpoint"
                if goes_on and (failed / RESUME).is_file():
                    home.mkdir(exist_ok=True)
                    (failed / "trial.json").unlink()
                    failed.rename(home / _next_name(home))
                else:
                    shutil.rmtree(failed)

    def tidy(self) -> None:
        """Remove what processes that were killed in publishing have left below ``running``."""
        for rest in self._running.glob(f"{_ENDED}*"):
            shutil.rmtree(rest, ignore_errors=True)
        published, begun = self.published_and_begun()
        for id in published & begun:
            with self.locked(id):
                claim = self.owner(id)
                is_moved = claim is not None and not self.attempt_folder(id, claim.attempt).exists()
                if is_moved or self.status(id) == "complete":  # others are new attempts at what had failed
                    _remove(self._running / id)

    def drop_claim(self, id: str, driver: Process) -> bool:
        """Give up a claim of one of this driver's workers, of which the driver knows that it has stopped.

        Returns:
            Whether there was one.
        """
        with self.locked(id):
            claim = self.owner(id)
            held = claim is not None and claim.driver == driver
            if held:
                Claim.remove(self._running / id)
        return held


class Attempt:
    """One process's work on one trial, in a folder of its own.

    Attributes:
        folder: where to write.
        number: 1 for the first attempt.
    """

    def __init__(self, store: Store, id: str, home: Path, name: str, driver: Process) -> None:
        self._store, self._id, self._home, self._name = store, id, home, name
        self._driver, self._stop_file = driver, store.stop_file(driver)
        self.folder = home / name
        self.number = int(name.rpartition("-")[2])
        self._beat = 0.0

    def start(self, earlier: Path | None) -> None:
        """Take the claim, and checkpoint and history of the earlier attempt to go on from; holds the lock."""
        self.folder.mkdir()
        if earlier is not None:
            for name in (SELECTED, HISTORY, RESUME_BEFORE, RESUME):
                if (earlier / name).is_file():
                    _link(earlier / name, self.folder / name)
        Claim(Process.this(), self._driver, self._name).write(self._home)
        self._beat = time.monotonic()

    def heartbeat(self) -> None:
        """Show that the owner lives; cheap enough for every step.

        Raises:
            ClaimLost: another process owns the trial now.
        """
        if time.monotonic() - self._beat > HEARTBEAT:
            self.check_owned()
            Claim.touch(self._home)
            self._beat = time.monotonic()

    def is_asked_to_stop(self) -> bool:
        """Return whether this process or its driver was asked to stop; cheap enough for every step."""
        return is_signalled() or self._stop_file.asks_to_stop()

    def check_in(self) -> None:
        """Show that the owner lives, where work can be put down at any moment.

        Raises:
            ClaimLost: another process owns the trial now.
            Interrupted: it was asked to stop.
        """
        self.heartbeat()
        if self.is_asked_to_stop():
            raise Interrupted("preempted", "asked to stop")

    def note(self, sentence: str) -> None:
        """Write down what has happened, for ``medctx status`` and the record."""
        add_note(self._home, sentence)

    def check_owned(self) -> None:
        """Raise ClaimLost where another process owns the trial now."""
        claim = Claim.read(self._home)
        if claim is None or claim.attempt != self._name:
            add_note(self._home, f"{Process.this()} has lost {self._name} and stops")
            raise ClaimLost(f"trial {self._id} is owned by another process")

    def publish(self, record: TrialRecord, weights: bool = True) -> TrialRecord:
        """Write the record last, and give the folder its final name; return the record, with what was noted.

        ``weights`` says whether they are kept.

        Raises:
            ClaimLost: another process owns the trial now.
        """
        record = record.model_copy(update={"notes": read_notes(self._home)})
        write_record(self.folder, record)
        write_sums(self.folder)
        final = self._store.trials / self._id
        with self._store.locked(self._id):
            self.check_owned()
            if self._store.damage(self._id):
                self._store._set_aside(self._id)
            elif final.exists():  # an earlier failure
                shutil.rmtree(final)
            if record.status == "complete" and weights and (self.folder / SELECTED).is_file():
                (self.folder / SELECTED).rename(self.folder / CHECKPOINT)
            if record.status != "failed":
                for name in (RESUME, RESUME_BEFORE, SELECTED):
                    (self.folder / name).unlink(missing_ok=True)
            self.folder.rename(final)
            _remove(self._home)
        return record

    def pause(self, step: int) -> None:
        """Give up the claim and keep what was written; leave word that the trial stands at ``step``."""
        self._release(Release("paused", f"paused at step {step}", self._where(), step=step))

    def release(self, cause: Cause | None = None) -> None:
        """Give up the claim and keep what was written, so that another attempt can go on; leave word why."""
        self._release(Release(cause.kind, cause.message, self._where(), cause.traceback) if cause else None)

    def _where(self) -> str:
        return f"{socket.gethostname()}/{self._name}"

    def _release(self, release: Release | None) -> None:
        with self._store.locked(self._id):
            self.check_owned()
            Claim.remove(self._home)
            if release is not None:
                release.write(self._home)


def _newest_checkpoint(home: Path) -> Path | None:
    """Return the folder of the attempt with the newest checkpoint, of equals the later one."""
    found = [path.parent for path in home.glob(f"attempt-*/{RESUME}")]

    def age(attempt: Path) -> tuple[int, int]:
        return (attempt / RESUME).stat().st_mtime_ns, int(attempt.name.rpartition("-")[2])

    return max(found, key=age, default=None)


def _next_name(home: Path) -> str:
    numbers = (int(path.name.rpartition("-")[2]) for path in home.glob("attempt-*"))
    return f"attempt-{max(numbers, default=0) + 1}"


def _remove(home: Path) -> None:
    """Remove the folder of a trial that has been published, at once for whoever still writes in it by its name."""
    rest = home.with_name(f"{_ENDED}{uuid4().hex}")
    with suppress(FileNotFoundError):  # somebody else has removed it
        home.rename(rest)
    shutil.rmtree(rest, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it whole where the file system has no links.

    Writers replace these files and never change them in place, so that sharing one is safe.
    """
    try:
        os.link(source, target)
    except OSError:
        with whole(target) as partial:
            shutil.copy2(source, partial)
