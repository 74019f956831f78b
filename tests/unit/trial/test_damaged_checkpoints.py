"""A checkpoint that is cut, empty, or has other bytes inside costs what came after the one before it, and no more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from harness.records.schema import TrialRecord, read_history
from harness.records.store import RESUME, RESUME_BEFORE, SELECTED, Store
from harness.spec import TrialSpec
from harness.training.checkpoint import DamagedCheckpointError, load_checkpoint, save_checkpoint
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zeros_inside(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)


def garbage(path: Path) -> None:
    path.write_bytes(b"<html>503 Service Unavailable</html>")


DAMAGE = [cut, empty, zeros_inside, garbage]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_seen_and_the_file_is_named(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    save_checkpoint(path, {"weights": torch.arange(1.0, 5000.0), "step": 7})
    assert load_checkpoint(path)["step"] == 7
    damage(path)
    with pytest.raises(DamagedCheckpointError, match=r"resume\.pt is damaged"):
        load_checkpoint(path)


def test_what_is_not_there_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "resume.pt")


@pytest.fixture(scope="module")
def short() -> TrialSpec:
    from harness.study.resolve import Resolver

    flat = {"dataset": "phantom", "architecture": "unet", "method": "supervised", "shots": 2, "subset": 0}
    flat |= {"seed": 0, "recipe.steps": 6, "recipe.validate_every": 2, "recipe.selection": "best_validation"}
    found = Resolver("test").trial(flat)
    assert isinstance(found, TrialSpec)
    return found


def told(results: Path, spec: TrialSpec) -> tuple[pd.DataFrame, list[dict]]:
    folder = results / "trials" / spec.id
    history = [line for line in read_history(folder) if "resumed" not in line]
    return pd.read_parquet(folder / "cases.parquet"), history


@pytest.fixture(scope="module")
def undisturbed(short: TrialSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("undisturbed")
    record = run_trial(short, RunSettings(results, keep="none"))
    assert record and record.status == "complete" and record.notes == []
    return results


def go_on_after(
    damage: Callable[[Path], None], names: list[str], spec: TrialSpec, results: Path
) -> TrialRecord:
    assert run_trial(spec, RunSettings(results, keep="none", checkpoint_minutes=0.0, pause_at=5)) is None
    folder = Store(results).attempt_folder(spec.id, "attempt-1")
    assert (folder / RESUME).is_file() and (folder / RESUME_BEFORE).is_file()
    for name in names:
        damage(folder / name)
    record = run_trial(spec, RunSettings(results, keep="none"))
    assert record and record.status == "complete", record and record.cause
    return record


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_trial_goes_on_from_the_checkpoint_before(
    damage: Callable[[Path], None], short: TrialSpec, undisturbed: Path, tmp_path: Path
) -> None:
    record = go_on_after(damage, [RESUME], short, tmp_path)
    assert len(record.notes) == 1 and "resume.pt is damaged" in record.notes[0]
    resumed = [line for line in read_history(tmp_path / "trials" / short.id) if "resumed" in line]
    assert [line["step"] for line in resumed] == [4]
    cases, history = told(tmp_path, short)
    expected_cases, expected_history = told(undisturbed, short)
    pd.testing.assert_frame_equal(cases, expected_cases)
    assert history == expected_history


@pytest.mark.parametrize("names", [[RESUME, RESUME_BEFORE], [SELECTED]], ids=["both", "the selected weights"])
def test_where_nothing_whole_is_left_it_begins_anew(
    names: list[str], short: TrialSpec, undisturbed: Path, tmp_path: Path
) -> None:
    record = go_on_after(cut, names, short, tmp_path)
    assert len(record.notes) == len(names)
    cases, history = told(tmp_path, short)
    expected_cases, expected_history = told(undisturbed, short)
    pd.testing.assert_frame_equal(cases, expected_cases)
    assert history == expected_history
