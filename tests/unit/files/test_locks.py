"""Locks, and folders of preprocessed data, that a group shares."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.files.locks import SharedLock


@pytest.mark.parametrize(("folder", "mode"), [(0o2775, 0o664), (0o755, 0o644), (0o700, 0o600)])
def test_who_may_write_a_folder_may_take_its_locks(tmp_path: Path, folder: int, mode: int) -> None:
    tmp_path.chmod(folder)
    before = os.umask(0o022)
    try:
        with SharedLock(tmp_path / ".lock-00"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".lock-00").stat().st_mode) == mode


def test_a_lock_that_another_user_keeps_for_himself_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".lock-0a"
    path.touch()

    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("filelock._unix.os.open", refuse)
    with pytest.raises(UserError, match=r"\.lock-0a: found a lock of user \d+ .*chmod g\+w .*umask 002"):
        SharedLock(path).acquire()


def test_a_lock_that_is_not_given_back_is_named(tmp_path: Path) -> None:
    with (
        SharedLock(tmp_path / ".lock-0b"),
        pytest.raises(UserError, match=r"\.lock-0b: found a lock that another process has held for 0 s"),
    ):
        SharedLock(tmp_path / ".lock-0b", timeout=0.05).acquire()
