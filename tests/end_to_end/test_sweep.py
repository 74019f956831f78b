"""The sweep: one trial's failure or a dead worker harms no other trial, and a later run repairs both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.records.schema import read_history
from harness.records.store import Store
from harness.study.expand import load_study

pytestmark = pytest.mark.whole_machine

STUDY = """
question: Does a failure stay where it is?
base:
  dataset: few_patients:FewPatients
  architecture: unet
  recipe: {overlap: 0.0, steps: 60}
grid:
  method: ["breaks_once:Fragile", supervised]
  seed: [0]
keep: none
"""
FRAGILE = """
from methods.supervised import Supervised


class Fragile(Supervised):
    def step(self, batch, progress):
        if progress.step == 2:
            raise RuntimeError("a bug in step two")
        return super().step(batch, progress)
"""


def medctx(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], cwd=folder, env=dict(os.environ), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def kill_worker(store: Store, id: str) -> int:
    """Kill the worker of a trial once it has a checkpoint; return the worker's process number."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        home = store.results / "running" / id
        if (home / "attempt-1" / "resume.pt").is_file():
            pid = json.loads((home / "claim.json").read_text())["worker"]["pid"]
            os.kill(pid, signal.SIGKILL)
            return pid
        time.sleep(0.02)
    raise AssertionError("no checkpoint in time")


@pytest.mark.slow
@pytest.mark.usefixtures("few_patients")
def test_a_bug_and_a_dead_worker_cost_one_trial_and_one_attempt(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(STUDY)
    (tmp_path / "breaks_once.py").write_text(FRAGILE)
    sys.path.insert(0, str(tmp_path))
    try:
        broken, sound = (cell.spec.id for cell in load_study(str(tmp_path / "sweep.yaml")).cells)
    finally:
        sys.path.remove(str(tmp_path))
    store = Store(tmp_path / "results")
    run = ("run", "sweep.yaml", "--workers", "2", "--checkpoint-minutes", "0.005")
    process = medctx(tmp_path, *run)
    kill_worker(store, sound)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert "a bug in step two" in output and f"complete  {sound}" in output
    assert "report:" in output

    record = store.record(broken)
    assert record and record.cause and record.cause.kind == "error"
    assert "breaks_once.py" in record.cause.traceback
    assert [line["step"] for line in read_history(store.trials / broken)] == [0, 1]
    survivor = store.record(sound)
    assert survivor and survivor.status == "complete" and survivor.attempts == 2
    assert any(line.get("resumed") == 2 for line in read_history(store.trials / sound))

    # the bug is mended: the same command runs what failed and nothing else
    (tmp_path / "breaks_once.py").write_text(FRAGILE.replace("progress.step == 2", "False"))
    before = (store.trials / sound / "trial.json").stat().st_mtime_ns
    process = medctx(tmp_path, *run)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "1 done, 1 to run" in output, output
    assert store.status(broken) == "complete"
    assert (store.trials / sound / "trial.json").stat().st_mtime_ns == before
    assert not list((tmp_path / "results" / "running").glob("[!.]*"))
