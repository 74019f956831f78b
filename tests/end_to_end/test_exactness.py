"""Same spec, same bits: twice, after other trials in the same process, and after being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness.records.processes import Process
from harness.records.schema import read_history
from harness.records.store import Attempt, Store
from harness.spec import TrialSpec
from harness.study.expand import load_study
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

STUDY = """
question: Does a trial give the same bits whatever happens to it?
base:
  dataset: few_patients:FewPatients
  architecture: unet
  recipe: {overlap: 0.0, steps: STEPS, validate_every: EVERY, selection: best_validation}
grid:
  method: [supervised, medcontext]
  seed: [0]
"""


def write_study(folder: Path, steps: int, every: int) -> Path:
    path = folder / "exactness.yaml"
    path.write_text(STUDY.replace("STEPS", str(steps)).replace("EVERY", str(every)))
    return path


def numbers(results: Path, id: str) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return the case rows and the history of a trial, without what says that it was resumed."""
    folder = results / "trials" / id
    lines = [line for line in read_history(folder) if "resumed" not in line]
    return pd.read_parquet(folder / "cases.parquet"), lines


def assert_same(one: Path, other: Path, id: str) -> None:
    (rows, history), (other_rows, other_history) = numbers(one, id), numbers(other, id)
    pd.testing.assert_frame_equal(rows, other_rows, check_exact=True)
    assert history == other_history
    weights, other_weights = (
        torch.load(path / "trials" / id / "checkpoint.pt", weights_only=True)["method"]
        for path in (one, other)
    )
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[key], other_weights[key]) for key in weights)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> list[TrialSpec]:
    study = load_study(str(write_study(tmp_path_factory.mktemp("study"), steps=6, every=3)))
    return [cell.spec for cell in study.cells]


def run_each(specs: list[TrialSpec], results: Path) -> None:
    """Run one trial after another in this process, which does other things between them."""
    for spec in specs:
        record = run_trial(spec, RunSettings(results))
        assert record is not None and record.status == "complete", record and record.cause
        torch.rand(7)  # whatever else the process draws
        torch.set_num_threads(2)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def calm(specs: list[TrialSpec], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of both trials, undisturbed."""
    results = tmp_path_factory.mktemp("calm")
    run_each(specs, results)
    return results


def test_a_b_a_in_one_process_gives_the_same_a(specs: list[TrialSpec], calm: Path, tmp_path: Path) -> None:
    run_each(specs, tmp_path / "second")
    for spec in specs:
        assert_same(calm, tmp_path / "second", spec.id)


def test_paused_and_gone_on_with_equals_undisturbed(
    specs: list[TrialSpec], calm: Path, tmp_path: Path
) -> None:
    spec, paused = specs[1], tmp_path / "paused"
    store = Store(paused)
    for step in (2, 5):
        assert run_trial(spec, RunSettings(paused, pause_at=step)) is None
        assert store.paused_at(spec.id) == step and store.status(spec.id) == "pending"
    record = run_trial(spec, RunSettings(paused))
    assert record and record.status == "complete" and record.attempts == 3
    assert store.paused_at(spec.id) is None
    assert_same(calm, paused, spec.id)


def test_stopped_after_testing_and_before_publishing_trains_nothing_again(
    specs: list[TrialSpec], calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = specs[1]

    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(Attempt, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            run_trial(spec, RunSettings(tmp_path / "stopped"))
    Store(tmp_path / "stopped").drop_claim(spec.id, Process.this())
    record = run_trial(spec, RunSettings(tmp_path / "stopped"))
    assert record and record.status == "complete" and record.attempts == 2
    history = read_history(tmp_path / "stopped" / "trials" / spec.id)
    assert [line["step"] for line in history if "resumed" in line] == [spec.recipe.steps]
    assert record.cost and record.cost.seconds > record.cost.seconds_training + record.cost.seconds_testing
    assert_same(calm, tmp_path / "stopped", spec.id)


def medctx(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness", *arguments]


def wait_for_checkpoint(results: Path, process: subprocess.Popen[str], seconds: float) -> None:
    """Return once a trial that is not near its end has a checkpoint."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, "the run ended before it could be killed"
        if list(results.glob("running/*/attempt-1/resume.pt")):
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint in time")


@pytest.mark.slow
@pytest.mark.whole_machine
@pytest.mark.usefixtures("few_patients")
def test_killed_in_mid_training_and_run_again_at_once_equals_undisturbed(tmp_path: Path) -> None:
    study = write_study(tmp_path, steps=80, every=40)
    ids = [cell.spec.id for cell in load_study(str(study)).cells]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def arguments(results: str) -> list[str]:
        loaders = "1" if results == "killed" else "0"  # they change no bit either
        return medctx(
            "run", str(study), "--results", str(tmp_path / results),
            "--workers", "2", "--loaders", loaders, "--checkpoint-minutes", "0.005",
        )  # fmt: skip

    undisturbed = subprocess.run(
        arguments("calm"), env=environment, capture_output=True, text=True, timeout=300
    )
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr

    victim = subprocess.Popen(arguments("killed"), env=environment, stdout=subprocess.DEVNULL, text=True)
    wait_for_checkpoint(tmp_path / "killed", victim, seconds=120)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    again = subprocess.run(arguments("killed"), env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr

    resumed = [
        line["step"]
        for id in ids
        for line in read_history(tmp_path / "killed" / "trials" / id)
        if "resumed" in line
    ]
    assert resumed and min(resumed) > 0
    for id in ids:
        assert_same(tmp_path / "calm", tmp_path / "killed", id)
    store = Store(tmp_path / "killed")
    assert [store.status(id) for id in ids] == ["complete", "complete"]

    # finished trials are not trained again
    stamps = {id: (store.trials / id / "trial.json").stat().st_mtime_ns for id in ids}
    third = subprocess.run(arguments("killed"), env=environment, capture_output=True, text=True, timeout=60)
    assert third.returncode == 0 and "0 to run" in third.stdout
    assert stamps == {id: (store.trials / id / "trial.json").stat().st_mtime_ns for id in ids}
    counts = subprocess.run(
        medctx("status", str(study), "--results", str(tmp_path / "killed"), "--json"),
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(counts.stdout)["complete"] == 2
