"""``medctx data suggest``: the study that it writes runs, says its rules, and what cannot be is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import harness
from harness.errors import UserError


@pytest.fixture
def described(small_msd: Path) -> Path:
    """Return a data root with a small hippocampus whose labels have names."""
    path = small_msd / "Task04_Hippocampus" / "dataset.json"
    words = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | words))
    return small_msd


def test_the_study_is_a_study_and_each_line_has_its_rule(described: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    found = harness.suggest("msd:Task04_Hippocampus", data=described, memory="8GB", output=path)
    assert path.read_text() == found.text and found.path == path
    body = found.text.partition("  recipe:\n")[2].partition("grid:")[0]
    assert all("  # " in line for line in body.splitlines() if not line.endswith("augmentation:"))
    study = harness.load_study(str(path), ["recipe.steps=3"])
    methods = [cell.factors["method"] for cell in study.cells]
    assert methods == ["supervised", "medcontext"] and not study.skipped
    spec = study.cells[0].spec
    # by hand: 20 x 24 x 20 voxels of 1 mm, halved to 10 x 12 x 10 and 5 x 6 x 5
    assert spec.recipe.patch == (20, 24, 20) and spec.recipe.steps == 3 and spec.recipe.precision == "bf16"
    assert spec.architecture.options["strides"] == [[2, 2, 2], [2, 2, 2]]
    assert spec.recipe.augmentation.mirror_axes == (0, 2)


def test_own_keys_of_a_dataset_give_way(described: Path, tmp_path: Path) -> None:
    """The hippocampus of the harness has an augmentation of its own: its scaling cannot stand beside nnU-Net's."""
    path = tmp_path / "mine.yaml"
    harness.suggest("hippocampus", data=described, memory=8, output=path)
    augmentation = harness.load_study(str(path)).cells[0].spec.recipe.augmentation
    assert augmentation.scaling == 0 and augmentation.intensity_probability == 0 and augmentation.scale_range


def test_without_a_gpu_the_network_is_narrow(described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = harness.suggest("hippocampus", data=described).text
    assert "filters: [12, 24, 48]" in text and "precision" not in text and "CPU core" in text


def test_a_gpu_is_sized_by_its_memory(described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "A GPU")
    properties = type("Properties", (), {"total_memory": 24e9})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    found = harness.suggest("hippocampus", data=described)
    assert found.suggestion.memory == 19.2 and "filters: [32, 64, 128]" in found.text


def test_the_command_prints_or_writes(described: Path, tmp_path: Path, medctx: Callable) -> None:
    printed = medctx("data", "suggest", "msd:Task04_Hippocampus", "--data", described, "--memory", "4gb")
    assert printed.code == 0 and printed.out.startswith("# Written by: medctx data suggest msd:Task04_Hippocampus --memory 4gb\n")  # fmt: skip
    path = tmp_path / "my study.yaml"
    written = medctx("data", "suggest", "msd:Task04_Hippocampus", "--data", described, "--output", path)
    assert written.code == 0 and f"medctx run '{path}'" in written.out
    again = medctx("data", "suggest", "msd:Task04_Hippocampus", "--data", described, "--output", path)
    assert again.code == 2 and "which is there; expected a new file" in again.err
    assert medctx("plan", path).code == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"memory": "lots"}, "--memory: found 'lots'; expected a size such as 8GB"),
        ({"memory": "-8GB"}, "expected a size"),
        ({"memory": "100MB"}, "expected at least 0.5GB"),
        ({"output": "study.txt"}, "expected a .yaml file in a folder"),
        ({"output": "nowhere/study.yaml"}, "expected a .yaml file in a folder that exists"),
    ],
)
def test_what_is_refused(described: Path, given: dict, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        harness.suggest("hippocampus", data=described, **given)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nnunet:Nowhere"):
        harness.suggest("nnunet:Nowhere", data=tmp_path, memory="8GB")


@pytest.mark.slow
def test_it_runs_as_it_is(described: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    harness.suggest("msd:Task04_Hippocampus", data=described, output=tmp_path / "mine.yaml")
    study = harness.load_study(str(tmp_path / "mine.yaml"), ["recipe.steps=2"])
    found = harness.run(study, results=tmp_path / "results", data=described, workers=1)
    assert found.is_complete and found.report is not None
