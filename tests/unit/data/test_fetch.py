from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from monai.apps import DecathlonDataset

from harness import registry
from harness.data.layout_twins import write_twin


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Publish a twin as the Decathlon's archive, at a file URL; return the task."""
    task, archive = "Task04_Hippocampus", tmp_path / "published.tar"
    root = write_twin("hippocampus", tmp_path / "twin", cases=1)
    with tarfile.open(archive, "w") as file:
        file.add(root / task, task)
    monkeypatch.setitem(DecathlonDataset.resource, task, archive.as_uri())
    monkeypatch.setitem(DecathlonDataset.md5, task, hashlib.md5(archive.read_bytes()).hexdigest())
    return task


def test_a_dataset_is_fetched_once(medctx: Callable, published: str, tmp_path: Path) -> None:
    for _ in range(2):
        outcome = medctx("data", "fetch", "hippocampus", "--data", tmp_path / "data")
        assert outcome.code == 0, outcome
    assert len(registry.load("dataset", "hippocampus")().cases(tmp_path / "data")) == 3
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [published]


def test_an_archive_with_another_checksum_is_refused(
    medctx: Callable, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DecathlonDataset.md5, published, "0" * 32)
    outcome = medctx("data", "fetch", "hippocampus", "--data", tmp_path / "data")
    assert outcome.code == 2 and "md5" in outcome.err and "0" * 32 in outcome.err
    assert not (tmp_path / "data" / published).exists()


def test_an_archive_that_ends_too_early_leaves_no_half_of_a_folder(
    medctx: Callable, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "published.tar"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    monkeypatch.setitem(DecathlonDataset.md5, published, hashlib.md5(archive.read_bytes()).hexdigest())
    outcome = medctx("data", "fetch", "hippocampus", "--data", tmp_path / "data")
    assert outcome.code == 2 and "a download that failed" in outcome.err
    assert [path.name for path in (tmp_path / "data").iterdir()] == [f"{published}.tar"]


@pytest.mark.parametrize("name", ["synapse", "acdc"])
def test_what_may_not_be_passed_on_is_named_with_its_place_and_layouts(medctx: Callable, name: str) -> None:
    outcome = medctx("data", "fetch", name)
    dataset = registry.load("dataset", name)
    assert outcome.code == 0 and dataset.register in outcome.out
    assert all(layout.name in outcome.out for layout in dataset.layouts)


def test_a_folder_of_ones_own_is_said_to_be_one(medctx: Callable) -> None:
    outcome = medctx("data", "fetch", "msd:Task99_Mine")
    assert outcome.code == 0 and "by hand: it is a folder of your own\n" in outcome.out
    assert "Decathlon: Task99_Mine below the data root" in outcome.out


def test_a_twin_is_written_into_a_new_folder_alone(medctx: Callable, tmp_path: Path) -> None:
    assert medctx("data", "twin", "brats", tmp_path / "twin", "--cases", "1").code == 0
    again = medctx("data", "twin", "brats", tmp_path / "twin")
    assert again.code == 2 and "a folder with content" in again.err
    for arguments, named in ((("phantom",), "hippocampus"), (("acdc", "--layout", "btcv"), "nnformer")):
        outcome = medctx("data", "twin", arguments[0], tmp_path / "other", *arguments[1:])
        assert outcome.code == 2 and named in outcome.err
