"""Every file of a record: missing, empty, cut, and with another byte inside."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from harness.records.damage import SUMS, damage_of, is_history_whole, write_sums
from harness.records.schema import TrialRecord, append_history, write_cases, write_record
from harness.study.expand import load_study
from harness.training.checkpoint import save_checkpoint

SPEC = load_study("quickstart").cells[0].spec
ROW = {"case": "a", "region": "lobe", "role": "student", "metric": "dice", "unit": "", "empty": "none"}
KINDS = ("missing", "empty", "cut", "flipped")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_cases(tmp_path, [{**ROW, "value": number / 100} for number in range(100)])
    append_history(tmp_path, ({"step": step, "losses": {"total": 0.5}} for step in range(50)))
    write_record(tmp_path, TrialRecord(id=SPEC.id, status="complete", kind="train", spec=SPEC))
    write_sums(tmp_path)
    return tmp_path


def harm(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
        return
    middle = len(content) // 2
    changed = {
        "empty": b"",
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    path.write_bytes(changed[kind])


def test_what_was_written_is_whole(folder: Path) -> None:
    assert damage_of(folder) is None and is_history_whole(folder)
    checked = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder, capture_output=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["trial.json", "cases.parquet"])
def test_damage_to_what_scores_are_read_from_is_named(folder: Path, name: str, kind: str) -> None:
    harm(folder / name, kind)
    assert (damage_of(folder) or "").startswith(name)


@pytest.mark.parametrize("kind", ["empty", "cut", "flipped"])
def test_damage_to_the_checksums_is_damage(folder: Path, kind: str) -> None:
    harm(folder / SUMS, kind)
    assert damage_of(folder) is not None


def test_a_record_of_an_earlier_version_has_no_checksums(folder: Path) -> None:
    harm(folder / SUMS, "missing")
    assert damage_of(folder) is None and is_history_whole(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_history_leaves_the_scores_whole(folder: Path, kind: str) -> None:
    harm(folder / "history.jsonl", kind)
    assert damage_of(folder) is None and not is_history_whole(folder)


@pytest.mark.parametrize("number", [0, 7, 40, 100, 1000])
def test_no_other_byte_passes_in_a_record(folder: Path, number: int) -> None:
    path = folder / "trial.json"
    content = bytearray(path.read_bytes())
    content[number % len(content)] ^= 4
    path.write_bytes(content)
    assert damage_of(folder) is not None


@pytest.mark.parametrize("kind", ["empty", "cut"])
def test_a_pretraining_without_its_weights_is_damaged_unless_they_were_removed(
    tmp_path: Path, kind: str
) -> None:
    pretraining = SPEC.model_copy(update={"kind": "pretrain"})
    write_record(
        tmp_path, TrialRecord(id=pretraining.id, status="complete", kind="pretrain", spec=pretraining)
    )
    save_checkpoint(tmp_path / "checkpoint.pt", {"method": {"weight": torch.zeros(1000)}})
    write_sums(tmp_path)
    assert damage_of(tmp_path) is None
    harm(tmp_path / "checkpoint.pt", kind)
    assert damage_of(tmp_path) == "checkpoint.pt is cut"
    harm(tmp_path / "checkpoint.pt", "missing")
    assert damage_of(tmp_path) is None
