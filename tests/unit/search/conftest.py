"""Fixtures of the tests of searches."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write without waiting for the disk: a killed process loses nothing by it."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
