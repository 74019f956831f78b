"""Whether a results folder can hold records: writable, lock-safe, with atomic renames, room and the right time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from harness.cluster.check_result import CheckResult
from harness.records.store import Store
from harness.study.cells import Cell

_SHARED = {
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "cifs", "smb3", "glusterfs", "fuse.glusterfs",
    "panfs", "wekafs", "orangefs", "pvfs2", "afs", "9p", "virtiofs", "fuse.juicefs", "ocfs2", "gfs2",
}  # fmt: skip
_MEMORY = {"tmpfs", "ramfs"}
_ASSUMED = 500 * 2**20  # bytes of a trial's record, where none is there to measure
_SAMPLE = 50  # records that are measured
_SKEW = 5.0  # seconds between clocks; claims are judged by the times of files
_CONTENDER = """
import sys
from filelock import FileLock, Timeout
lock = FileLock(sys.argv[1], timeout=0)
try:
    lock.acquire()
    print("won", flush=True)
except Timeout:
    print("lost", flush=True)
sys.stdin.read()
"""


def check_storage(results: Path, alone: bool) -> list[CheckResult]:
    """Return what was found about a results folder; files are made below it and taken away again.

    Args:
        results: the folder; made where it is not there.
        alone: whether this machine alone will use it.
    """
    checks = {
        "lock": _check_lock,
        "rename": _check_rename,
        "hard links": _check_hard_links,
        "file times": _check_file_times,
    }
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=results) as scratch:
            findings = [_run_check(name, check, Path(scratch)) for name, check in checks.items()]
    except OSError as error:
        remedy = "Name another folder with --results DIR."
        return [CheckResult("results", "error", f"{results} cannot be written ({error.strerror})", remedy)]
    writable = CheckResult("results", "ok", f"{results} can be written")
    return [writable, _check_file_system(file_system(results), alone), *findings]


def _run_check(name: str, check: Callable[[Path], CheckResult], folder: Path) -> CheckResult:
    try:
        return check(folder)
    except (OSError, subprocess.SubprocessError) as error:
        return CheckResult(name, "error", f"failed: {error}", "Put the results on another file system.")


def file_system(path: Path) -> str:
    """Return the type of the file system that a path lies on."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    place = path.resolve()
    return next((mounts[parent] for parent in (place, *place.parents) if parent in mounts), "unknown")


def _check_file_system(kind: str, alone: bool) -> CheckResult:
    if kind in _SHARED:
        return CheckResult("file system", "ok", f"{kind}, shared by nodes")
    if kind in _MEMORY:
        return CheckResult(
            "file system",
            "warning",
            f"{kind}: records would be kept in memory and be lost at a restart",
            "Choose a folder on a disk.",
        )
    if alone:
        return CheckResult(
            "file system", "ok", f"{kind}, local to this machine; a cluster needs a shared one"
        )
    remedy = "Choose a folder on NFS, Lustre or the like, unless 'visible' is ok on every node."
    return CheckResult("file system", "warning", f"{kind}, which is usually local to one machine", remedy)


def _check_lock(folder: Path) -> CheckResult:
    """Let two processes contend for one lock; both hold on to what they got until both have tried."""
    command = [sys.executable, "-c", _CONTENDER, str(folder / "lock")]
    pipe = subprocess.PIPE
    contenders = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    results = [process.stdout.readline().strip() if process.stdout else "" for process in contenders]
    for process in contenders:
        process.communicate()
    if sorted(results) == ["lost", "won"]:
        return CheckResult("lock", "ok", "two processes asked for a lock, and one got it")
    said = " and ".join(result or "nothing" for result in results)
    return CheckResult(
        "lock", "error", f"two processes asked for one lock; their answers: {said}", _LOCK_REMEDY
    )


_LOCK_REMEDY = (
    "Mount the file system with locks (NFS: version 4, not 'nolock' or 'local_lock'), or choose another."
)


def held_lock_result(node: str, taken: bool) -> CheckResult:
    """Return what it means that another node could, or could not, take a lock that this process holds."""
    if taken:
        return CheckResult("lock", "error", "took a lock that another node holds", _LOCK_REMEDY, node)
    return CheckResult("lock", "ok", "respects a lock that another node holds", node=node)


def _check_rename(folder: Path) -> CheckResult:
    """Replace a file, and give a filled folder another name, as publishing a record does."""
    old, new = folder / "record", folder / "partial"
    old.write_text("old")
    new.write_text("new")
    new.replace(old)
    attempt, final = folder / "attempt", folder / "final"
    attempt.mkdir()
    (attempt / "file").write_text("whole")
    attempt.rename(final)
    if old.read_text() == "new" and not new.exists() and (final / "file").read_text() == "whole":
        return CheckResult("rename", "ok", "files and folders are renamed at once")
    return CheckResult(
        "rename", "error", "a renamed file or folder is incomplete", "Put the results on another file system."
    )


def _check_hard_links(folder: Path) -> CheckResult:
    first, second = folder / "first", folder / "second"
    first.write_text("x")
    try:
        os.link(first, second)
    except OSError as error:
        return CheckResult(
            "hard links", "warning", f"none ({error.strerror}): checkpoints are copied",
            "Expect more room and time.",
        )  # fmt: skip
    return CheckResult(
        "hard links", "ok" if first.samefile(second) else "warning", "checkpoints are shared, not copied"
    )


def _check_file_times(folder: Path) -> CheckResult:
    path = folder / "clock"
    path.touch()
    ahead = path.stat().st_mtime - time.time()
    if abs(ahead) < _SKEW:
        return CheckResult("file times", "ok", f"{ahead:+.1f} s from this machine's clock")
    return CheckResult(
        "file times", "error", f"{ahead:+.1f} s from this machine's clock; claims are judged by them",
        "Set the clocks of the file server and of this machine by one time server.",
    )  # fmt: skip


def check_space(results: Path, cells: Sequence[Cell] | None) -> CheckResult:
    """Return whether there is room for the trials that are missing, judged by the records that are there."""
    free = shutil.disk_usage(results).free
    if cells is None:
        return CheckResult("free space", "ok", f"{_size(free)}; name a study for a forecast")
    store = Store(results, writable=False)
    missing = sum(store.status(cell.spec.id) != "complete" for cell in cells)
    sizes = list(_record_sizes(store))
    each = sum(sizes) / len(sizes) if sizes else _ASSUMED
    basis = f"the mean of {len(sizes)} records" if sizes else "assumed, without a record to measure"
    needed = missing * each
    found = f"{_size(free)}; {missing} trials need about {_size(needed)} ({_size(each)} each, {basis})"
    if needed > free:
        return CheckResult(
            "free space", "error", found,
            "Make room, set 'keep: none' in the study, or choose another folder.",
        )  # fmt: skip
    if needed > free / 2:
        return CheckResult("free space", "warning", found, "Keep an eye on it.")
    return CheckResult("free space", "ok", found)


def _record_sizes(store: Store) -> Iterator[int]:
    folders = sorted(store.trials.glob("*/trial.json"))[:_SAMPLE]
    for record in folders:
        yield sum(path.stat().st_size for path in record.parent.rglob("*") if path.is_file())


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
