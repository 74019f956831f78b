"""The short form of the benchmark ``chaos.py``: killed six times, a checkpoint and a record harmed, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole_machine

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "chaos.py"


@pytest.mark.slow
def test_a_grid_that_is_killed_again_and_again_ends_as_if_nothing_had_happened() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "--short"], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed: {" in done.stdout and done.stdout.count("killed in training") == 1
    for name in ("resume.pt", "trial.json"):
        assert done.stdout.count(f"killed within the write of {name}") == 1
    assert done.stdout.count("outlived it") == done.stdout.count("killed after publishing") == 1
    assert done.stdout.count("checkpoint of trial") == done.stdout.count(" of trial ") - 1 == 1
    assert "6 trials complete once, identical to the undisturbed run" in done.stdout
