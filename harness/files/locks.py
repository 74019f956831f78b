"""Locks that the members of a group share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.errors import UserError


class SharedLock(FileLock):
    """A lock file that all may write who may write its folder, whatever their umask; a dead owner's is free at once.

    Raises:
        UserError: when it is taken: another user made it and does not let this one write it, or another process did not
            give it back in time.
    """

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        super().__init__(path, timeout=timeout, mode=0o666 & path.parent.stat().st_mode)

    def acquire(self, *arguments: Any, **options: Any) -> Any:
        """Take the lock; see :class:`filelock.FileLock`."""
        try:
            return super().acquire(*arguments, **options)
        except PermissionError as error:
            path = Path(self.lock_file)
            owner = path.stat().st_uid if path.exists() else "nobody"
            raise UserError(
                path, f"a lock of user {owner} that you may not write", "one that all who share the folder may write",
                f"Let its owner give 'chmod g+w {path.parent}/.lock-*', and 'umask 002' from now on.",
            ) from error  # fmt: skip
        except Timeout as error:
            raise UserError(
                self.lock_file, f"a lock that another process has held for {self.timeout:.0f} s", "a free one",
                "Wait until it has ended, or end it; the lock is free as soon as its owner is gone.",
            ) from error  # fmt: skip
