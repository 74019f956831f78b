"""What several tests of data share."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data import preprocessing


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test have a cache of its own, as another process would begin with it."""
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "cache"))
    preprocessing._open.cache_clear()
