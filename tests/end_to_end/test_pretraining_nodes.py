"""Pretraining, from the plan to the trials that start from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness.records.schema import read_history, read_record
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.expand import load_study
from harness.training.loop import Trainer
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

STUDY = """
question: Is each pretraining run once?
methods:
  restored: {name: models_genesis, pretrain: {steps: 8, seed: SEED, validate_every: 4}}
base: {dataset: "DATASET", architecture: unet, recipe: {steps: 2, overlap: 0.0, batch: 2}}
grid: {method: [restored], shots: [1, 2, 3], seed: [0, 1, 2]}
keep: none
"""


def write_study(folder: Path, seed: str = "paired", dataset: str = "phantom") -> Path:
    path = folder / "pretraining.yaml"
    path.write_text(STUDY.replace("SEED", seed).replace("DATASET", dataset))
    return path


@pytest.mark.slow
@pytest.mark.whole_machine
@pytest.mark.parametrize(("seed", "count"), [("paired", 3), ("shared", 1)])
def test_nine_trials_start_from_pretrainings_that_ran_once(
    tmp_path: Path, seed: str, count: int, few_patients: str
) -> None:
    study = write_study(tmp_path, seed, few_patients)
    command = [sys.executable, "-m", "harness", "run", str(study), "--results", str(tmp_path / "results")]
    command += ["--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [read_record(path) for path in (tmp_path / "results" / "trials").iterdir()]
    nodes = {record.id: record for record in records if record.kind == "pretrain"}
    trials = [record for record in records if record.kind == "train"]
    assert (len(nodes), len(trials)) == (count, 9)
    assert all(record.attempts == 1 for record in records)
    for record in trials:
        assert record.transfer and record.cost and record.protocol
        node = nodes[record.transfer.source]
        assert node.times and record.times and node.times.finished <= record.times.claimed
        assert node.cost and record.cost.pretraining_seconds == node.cost.seconds
        assert (record.cost.pretraining_steps, record.cost.pretraining_forward_passes) == (8, 8)
        assert record.protocol.pretraining == "models_genesis, 8 steps on the images of all training cases"
    page = (tmp_path / "results" / "pretraining" / "tables" / "cost.md").read_text()
    assert "Forward passes of pretraining" in page
    again = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert again.returncode == 0 and "0 to run" in again.stdout


def node_and_trial(tmp_path: Path) -> tuple[TrialSpec, TrialSpec]:
    study = load_study(str(write_study(tmp_path)))
    return study.nodes[0].spec, next(
        c.spec for c in study.cells if c.spec.pretraining == study.nodes[0].spec.id
    )


def test_an_interrupted_pretraining_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, trial = node_and_trial(tmp_path)
    calm, stopped = RunSettings(tmp_path / "calm"), RunSettings(tmp_path / "stopped", checkpoint_minutes=0.0)
    record = run_trial(node, calm)
    assert record and record.status == "complete", record and record.cause

    update = Trainer._update

    def stop(trainer: Trainer, *arguments: Any) -> Any:
        if trainer.step == 5:
            raise KeyboardInterrupt
        return update(trainer, *arguments)

    with monkeypatch.context() as context:
        context.setattr(Trainer, "_update", stop)
        with pytest.raises(KeyboardInterrupt):
            run_trial(node, stopped)
    record = run_trial(node, stopped)
    assert record and record.status == "complete" and record.attempts == 2

    folders = [settings.results / "trials" / node.id for settings in (calm, stopped)]
    states = [torch.load(folder / "checkpoint.pt", weights_only=True)["method"] for folder in folders]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    histories = [list(read_history(folder)) for folder in folders]
    assert [line["step"] for line in histories[1] if "resumed" in line] == [5]
    assert histories[0] == [line for line in histories[1] if "resumed" not in line]
    assert [line["step"] for line in histories[0] if "held_out" in line] == [0, 4, 8]
    assert sorted(path.name for path in folders[0].iterdir()) == [
        "SHA256SUMS",
        "checkpoint.pt",
        "history.jsonl",
        "trial.json",
    ]

    # fine-tuning begins with these weights, but for the head
    tuned = run_trial(trial, calm)
    assert tuned and tuned.status == "complete" and tuned.transfer
    assert tuned.transfer.share > 0.95 and not tuned.transfer.missing and not tuned.transfer.unfit
    assert all(name.startswith("model.2.") for name in tuned.transfer.random)
    assert len(pd.read_parquet(tmp_path / "calm" / "trials" / trial.id / "cases.parquet"))


def test_pretraining_sees_all_training_images_and_no_label_and_no_test_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.data.preprocessing import CaseCache

    node, _ = node_and_trial(tmp_path)
    seen: set[str] = set()
    image = CaseCache.image

    def noted(cache: CaseCache, case: str):
        seen.add(case)
        return image(cache, case)

    def refused(_cache: CaseCache, case: str):
        raise AssertionError(f"the label of {case} was read")

    monkeypatch.setattr(CaseCache, "image", noted)
    for name in ("label", "foreground", "native_reference"):
        monkeypatch.setattr(CaseCache, name, refused)
    record = run_trial(node, RunSettings(tmp_path / "results"))
    assert record and record.status == "complete" and record.protocol, record and record.cause
    assert seen == {*record.protocol.training_cases, *record.protocol.validation_cases}
    assert len(record.protocol.training_cases) == 32


def test_a_trial_without_its_pretraining_says_so_and_medctx_trial_runs_it_first(
    tmp_path: Path, medctx
) -> None:
    node, trial = node_and_trial(tmp_path)
    alone = run_trial(trial, RunSettings(tmp_path / "alone"))
    assert alone and alone.cause and alone.cause.message == f"pretraining {node.id} missing"
    done = medctx("trial", tmp_path / "pretraining.yaml", trial.id, "--results", tmp_path / "results")
    assert done.code == 0, done.out + done.err
    store = Store(tmp_path / "results")
    assert [store.status(spec.id) for spec in (node, trial)] == ["complete", "complete"]
    assert f"pretraining complete: {store.trials / node.id}" in done.out
    counts = json.loads(
        medctx("status", tmp_path / "pretraining.yaml", "--json", "--results", tmp_path / "results").out
    )
    assert (counts["planned"], counts["complete"]) == (12, 2)
