"""A folder of results, and a process to own its trials."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def other():
    """A process that lives until the test ends or kills it."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
