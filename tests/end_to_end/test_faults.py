"""Faults as they happen: each made in a real run, and what the run makes of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.records.processes import Process
from harness.records.schema import TrialRecord, read_history
from harness.records.store import Store
from harness.study.cells import Cell
from harness.study.expand import load_study
from harness.sweep.packing import Need, arm_key, write_needs

pytestmark = [pytest.mark.slow, pytest.mark.whole_machine]
FRAGILE = """
import os
import signal
from dataclasses import replace
from pathlib import Path

import torch

from methods.supervised import Supervised


class Fragile(Supervised):
    times = 1000

    def step(self, batch, progress):
        count = Path(__file__).with_name(type(self).__name__)
        if progress.step == 2 and (before := int(count.read_text()) if count.exists() else 0) < self.times:
            count.write_text(str(before + 1))
            return self.fail(super().step(batch, progress))
        return super().step(batch, progress)


class Hungry(Fragile):
    times = 2

    def fail(self, losses):
        raise torch.OutOfMemoryError("CUDA out of memory")


class Stuffed(Fragile):
    times = 1

    def fail(self, losses):
        raise MemoryError


class Lost(Fragile):
    times = 1

    def fail(self, losses):
        os.kill(os.getpid(), signal.SIGKILL)


class Undefined(Fragile):
    def fail(self, losses):
        return replace(losses, total=losses.total * float("nan"))


class Buggy(Fragile):
    def fail(self, losses):
        raise RuntimeError("a bug in step two")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_patients: str) -> Path:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write_study(folder: Path, steps: int, **grid: list[Any]) -> tuple[Cell, ...]:
    grid = {"method": ["supervised"], "seed": [0], **grid}
    base = {
        "dataset": "few_patients:FewPatients",
        "architecture": "unet",
        "recipe": {"overlap": 0.0, "steps": steps},
    }
    study = {"question": "What becomes of it?", "base": base, "grid": grid, "keep": "none"}
    (folder / "faults.yaml").write_text(json.dumps(study))
    return load_study(str(folder / "faults.yaml")).cells


class Run:
    """A run of the study in a folder, whose output goes to a file."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._log = folder / "log.txt"
        command = [sys.executable, "-m", "harness", "run", "faults.yaml", *map(str, arguments)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait(self, code: int) -> str:
        try:
            found = self.process.wait(300)
        finally:
            self.process.kill()
        assert found == code, self.output
        return self.output


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end, f"no {what} in time"
        time.sleep(0.02)


def record_of(store: Store, cell: Cell) -> TrialRecord:
    record = store.record(cell.spec.id)
    assert record
    return record


def test_each_fault_has_its_own_rule(folder: Path) -> None:
    names = ("Hungry", "Stuffed", "Lost", "Undefined", "Buggy")
    cells = write_study(folder, 6, method=[f"fragile:{name}" for name in names])
    hungry, stuffed, lost, _, buggy = cells
    store = Store(folder / "results")
    needs = {arm_key(cell.spec): Need("a test", 1, 1.0, share=0.25) for cell in cells}
    write_needs(store.results, needs)
    output = Run(folder, "--gpus", 1, "--workers", 2, "--checkpoint-minutes", 0).wait(1)
    assert f"{hungry.spec.id} again with 0.50 of a GPU" in output
    assert f"{hungry.spec.id} again with 1.00 of a GPU" in output
    outcomes = {}
    for name, cell in zip(names, cells, strict=True):
        record = record_of(store, cell)
        outcomes[name] = (record.status, record.cause.kind if record.cause else None, record.attempts)
    assert outcomes == {
        "Hungry": ("complete", None, 3),
        "Stuffed": ("complete", None, 2),
        "Lost": ("complete", None, 2),
        "Undefined": ("failed", "nan", 1),
        "Buggy": ("failed", "error", 1),
    }
    for cell in (hungry, stuffed, lost):  # from their checkpoints, not anew
        resumed = [line["step"] for line in read_history(store.trials / cell.spec.id) if "resumed" in line]
        assert resumed and all(step == 2 for step in resumed)
    assert "a bug in step two" in (record_of(store, buggy).cause or pytest.fail()).traceback


def test_who_is_asked_to_stop_saves_a_checkpoint_and_the_same_command_goes_on(folder: Path) -> None:
    cell = write_study(folder, 300)[0]
    store = Store(folder / "results")

    home = store.results / "running" / cell.spec.id

    def wrote(attempt: int, text: str) -> bool:
        history = home / f"attempt-{attempt}" / "history.jsonl"
        return history.is_file() and text in history.read_text()

    run = Run(folder, "--checkpoint-minutes", 60)
    until(lambda: wrote(1, '"losses"'), "training")
    run.process.send_signal(signal.SIGTERM)
    output = run.wait(75)
    assert "asked to stop" in output and "Stopped. The same command goes on." in output
    released = store.released(cell.spec.id)
    assert released and released.kind == "preempted" and store.status(cell.spec.id) == "pending"
    assert (home / "attempt-1" / "resume.pt").is_file()
    assert not list((store.results / "running").glob(".driver-*"))

    run = Run(folder, "--checkpoint-minutes", 60)
    until(lambda: wrote(2, '"resumed": 2'), "second attempt")
    owner = store.owner(cell.spec.id)
    assert owner
    os.kill(owner.worker.pid, signal.SIGUSR1)
    run.wait(0)
    record = record_of(store, cell)
    assert record.status == "complete" and record.attempts == 3
    lines = list(read_history(store.trials / cell.spec.id))
    assert [line["resumed"] for line in lines if "resumed" in line] == [2, 3]
    assert [line["step"] for line in lines if "losses" in line] == list(range(300))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_pauses_the_study_until_there_is_room(folder: Path, small_disk: Path) -> None:
    cells = write_study(folder, 4, seed=[0, 1])
    store = Store(small_disk / "results")
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - 200 * 1024)
    run = Run(folder, "--results", store.results, "--checkpoint-minutes", 0)
    until(lambda: "paused:" in run.output or run.process.poll() is not None, "pause")
    time.sleep(6)  # it looks for room, and finds none
    assert run.process.poll() is None and "Make room" in run.output
    assert {store.status(cell.spec.id) for cell in cells} == {"pending"}
    ballast.unlink()
    output = run.wait(0)
    assert "there is room again" in output
    assert {record_of(store, cell).status for cell in cells} == {"complete"}
    assert not list(store.results.rglob(".*.pt")), "a torn checkpoint was left"


def test_two_drivers_and_stale_claims_do_no_harm(folder: Path) -> None:
    cells = write_study(folder, 20, seed=[0, 1, 2, 3])
    store = Store(folder / "results")
    dead = asdict(Process.this()) | {"start": 0}
    far = {"host": "elsewhere", "pid": 1, "started": 0.0}
    for cell, owner in zip(cells, (dead, far), strict=False):
        assert store.claim(cell.spec.id, Process.this())
        path = store.results / "running" / cell.spec.id / "claim.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"worker": owner, "driver": owner}))
        os.utime(path, (0, 0))
    (folder / "other").mkdir()
    (folder / "other" / "faults.yaml").write_text((folder / "faults.yaml").read_text())
    runs = [Run(place, "--results", store.results, "--workers", 1) for place in (folder, folder / "other")]
    outputs = [run.wait(0) for run in runs]
    assert [record_of(store, cell).attempts for cell in cells] == [2, 2, 1, 1]
    for cell in cells:
        lines = list(read_history(store.trials / cell.spec.id))
        assert [line["step"] for line in lines if "losses" in line] == list(range(20))
        assert not [line for line in lines if "resumed" in line]
    assert all("report:" in output for output in outputs)
    assert not list((store.results / "running").glob("[!.]*"))
