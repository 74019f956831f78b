"""A process as another one can know it, and what makes the statement true that it has died."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

_PROC = Path("/proc")
_GONE = ("Z", "X")  # states in /proc/<pid>/stat: waits for its parent, or is dead

State = Literal["alive", "dead", "unknown"]


@dataclass(frozen=True)
class Process:
    """A process, as it writes itself down.

    Attributes:
        host: name of the machine, for people; two machines may have one name.
        pid: in its namespace.
        boot: id of the kernel's start; empty where an earlier version wrote none.
        namespace: of its pid: a container has its own.
        start: when it began, in ticks of the kernel since its start; a clock that is set does not change it.
        user: id of who runs it.
    """

    host: str
    pid: int
    boot: str = ""
    namespace: str = ""
    start: int = 0
    user: int = -1

    @classmethod
    def this(cls) -> Process:
        """Return the current process."""
        pid = os.getpid()
        status = _status(pid)
        start = status[1] if status else 0
        return cls(socket.gethostname(), pid, _boot(), _namespace(), start, os.getuid())

    @classmethod
    def of_json(cls, written: Mapping[str, Any]) -> Process:
        """Return a process from what :func:`dataclasses.asdict` made of it, also in an earlier version.

        Raises:
            KeyError, TypeError: it is none.
        """
        known = {name: written[name] for name in cls.__dataclass_fields__ if name in written}
        return cls(**{"host": written["host"], "pid": written["pid"]} | known)

    def state(self) -> State:
        """Return whether it runs, as far as can be known from here.

        A pid proves something only under the same kernel and in the same namespace, and only where it can be seen.
        """
        if not self.boot or (self.boot, self.namespace) != (_boot(), _namespace()):
            return "unknown"
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return "dead"
        except PermissionError:  # another user's; it is there
            pass
        status = _status(self.pid)
        if status is None:
            return "unknown"
        return "alive" if status[0] not in _GONE and status[1] == self.start else "dead"

    def __str__(self) -> str:
        """Return it for people."""
        return f"process {self.pid} on {self.host}"


def _status(pid: int) -> tuple[str, int] | None:
    """Return a process's state, and when it began; None where it cannot be seen."""
    if not _PROC.is_dir():  # not Linux
        try:
            return "R", int(psutil.Process(pid).create_time())
        except psutil.Error:
            return None
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])


def _boot() -> str:
    """Return the id of the kernel's start; empty where what ``/proc`` shows is another namespace's."""
    if not _PROC.is_dir():
        return socket.gethostname()
    try:
        own = (_PROC / "self").readlink().name == str(os.getpid())
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip() if own else ""
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return (_PROC / "self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return "none"
