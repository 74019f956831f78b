"""What only a GPU shows: mixed precision across a resume, memory that runs out, memory that is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.errors import Interrupted
from harness.records.schema import read_history
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.expand import load_study
from harness.sweep.packing import share_for
from harness.sweep.probe import probe_apart
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings


def trial(*changes: str) -> TrialSpec:
    return load_study("quickstart", ["recipe.overlap=0.0", *changes]).cells[4].spec  # medcontext


def losses(results: Path, spec: TrialSpec) -> list[float]:
    lines = read_history(Store(results).trials / spec.id)
    return [line["losses"]["total"] for line in lines if "losses" in line]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_mixed_precision_goes_on_where_it_was_put_down(tmp_path: Path, precision: str) -> None:
    spec = trial("recipe.steps=12", f"recipe.precision={precision}")
    calm, paused = tmp_path / "calm", tmp_path / "paused"
    assert run_trial(spec, RunSettings(calm))
    assert run_trial(spec, RunSettings(paused, pause_at=6)) is None
    state = torch.load(
        next((paused / "running").glob("*/attempt-1/resume.pt")), map_location="cpu", weights_only=True
    )
    if precision == "fp16":
        assert state["trainer"]["scaler"]["scale"] > 0
    assert run_trial(spec, RunSettings(paused))
    # kernels that are not deterministic leave rounding, not a course of its own
    assert losses(paused, spec) == pytest.approx(losses(calm, spec), rel=2e-2)
    one, other = (
        torch.load(folder / "trials" / spec.id / "checkpoint.pt", map_location="cpu", weights_only=True)
        for folder in (calm, paused)
    )
    assert one["step"] == other["step"] == 12


def test_memory_that_runs_out_is_put_down_with_a_share_and_failed_with_a_whole_gpu(
    tmp_path: Path, gpu: torch.device
) -> None:
    spec = trial("recipe.steps=2", "recipe.patch=[64, 64, 64]", "recipe.batch=8")
    total = torch.cuda.get_device_properties(gpu).total_memory
    share = 200 * 2**20 / total
    torch.cuda.empty_cache()
    with pytest.raises(Interrupted) as caught:
        run_trial(spec, RunSettings(tmp_path, share=share))
    assert caught.value.cause == "out_of_gpu_memory"
    released = Store(tmp_path).released(spec.id)
    assert released and released.kind == "out_of_gpu_memory"
    record = run_trial(spec, RunSettings(tmp_path))
    assert record and record.status == "complete" and record.attempts == 2


def test_a_probe_measures_what_a_trial_takes(tmp_path: Path, gpu: torch.device) -> None:
    spec = trial("recipe.steps=12")
    need = probe_apart(spec, None)
    record = run_trial(spec, RunSettings(tmp_path))
    assert record and record.cost
    assert need.memory == pytest.approx(record.cost.peak_memory, rel=0.25)
    assert need.device == torch.cuda.get_device_name(gpu)
    assert need.share == share_for(need.memory, torch.cuda.get_device_properties(gpu).total_memory)
