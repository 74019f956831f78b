"""The cache of preprocessed volumes: made once, by one process, and never half."""

from __future__ import annotations

import os
import shutil
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
import pytest
from filelock import FileLock

from harness import registry
from harness.data import nifti, preprocessing
from harness.data.datasets.contract import Case, Dataset
from harness.data.layout_twins import write_twin
from harness.data.nifti import write_label
from harness.data.preprocessing import prepare
from harness.errors import UserError
from harness.spec import Recipe


def recipe(spacing: tuple[float, float, float] = (1, 1, 1)) -> Recipe:
    return Recipe(patch=(8, 8, 8), spacing=spacing)


pytestmark = pytest.mark.usefixtures("fresh_cache")


def hippocampus(root: Path) -> tuple[Dataset, list[Case]]:
    dataset = registry.load("dataset", "hippocampus")()
    return dataset, dataset.cases(root)


def test_the_cache_is_made_once_and_again_when_a_file_changes(
    small_msd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, cases = hippocampus(small_msd)
    reads: list[str] = []
    original = Dataset.image
    monkeypatch.setattr(Dataset, "image", lambda self, case: reads.append(case.id) or original(self, case))
    first = prepare(dataset, "hippocampus", cases, recipe())
    assert len(reads) == len(cases)
    second = prepare(dataset, "hippocampus", cases, recipe())
    assert len(reads) == len(cases) and second.content == first.content
    assert cases[0].label is not None
    label = np.array(nibabel.load(cases[0].label).dataobj)
    label[0, 0, 0] = 1
    write_label(cases[0].label, label, np.eye(4))
    third = prepare(dataset, "hippocampus", cases, recipe())
    assert len(reads) == 2 * len(cases) and third.content != first.content
    assert third.label(cases[0].id)[0, 0, 0] == 1


def test_a_cache_that_is_there_is_used_without_reading_a_volume(
    small_msd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, cases = hippocampus(small_msd)
    first = prepare(dataset, "hippocampus", cases, recipe())
    preprocessing._open.cache_clear()  # as another process begins

    def read(*arguments: object, **options: object) -> None:
        raise AssertionError("a NIfTI file was read")

    monkeypatch.setattr(nifti, "_load", read)
    assert prepare(dataset, "hippocampus", cases, recipe()).folder == first.folder
    with pytest.raises(AssertionError, match="was read"):
        prepare(dataset, "hippocampus", cases, recipe((2, 2, 2)))


def test_a_folder_that_describes_itself_in_another_way_is_other_data(tmp_path: Path) -> None:
    root = write_twin("brats", tmp_path / "twin", "nnunet", cases=1)
    folder = root / "Dataset001_BrainTumour"

    def prepared() -> str:
        dataset = registry.load("dataset", "nnunet:Dataset001_BrainTumour")()
        cases = dataset.cases(root)
        return prepare(dataset, "nnunet:Dataset001_BrainTumour", cases, recipe()).content

    first = prepared()
    assert prepared() == first
    listing = folder / "dataset.json"
    listing.write_text(listing.read_text().replace('"edema"', '"oedema"'))
    assert prepared() != first


def test_a_source_that_cannot_be_read_is_not_taken_for_the_cache(
    small_msd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, cases = hippocampus(small_msd)

    def refuse(self: Dataset, case: Case) -> str:
        raise PermissionError(13, "Permission denied", str(case.image))

    monkeypatch.setattr(Dataset, "content", refuse)
    with pytest.raises(UserError, match=rf"{cases[0].id}\.nii\.gz: .*Permission denied") as refusal:
        prepare(dataset, "hippocampus", cases, recipe())
    assert "cache" not in refusal.value.found


def test_a_half_written_cache_is_not_used(
    small_msd: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset, cases = hippocampus(small_msd)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(preprocessing, "_foreground", die)
        with pytest.raises(KeyboardInterrupt):
            prepare(dataset, "hippocampus", cases, recipe())
    cache = prepare(dataset, "hippocampus", cases, recipe())
    assert not cache.folder.name.startswith(".")
    assert all(cache.image(case.id).shape[0] == 1 for case in cases)


def _prepare_and_die(root: Path) -> None:
    """Be killed with SIGKILL after two of four cases."""
    dataset, cases = hippocampus(root)
    ticks = iter(range(2))

    def tick() -> None:
        if next(ticks) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    prepare(dataset, "hippocampus", cases, recipe(), tick)


def test_what_a_killed_process_left_is_not_used_and_goes(small_msd: Path, tmp_path: Path) -> None:
    process = get_context("spawn").Process(target=_prepare_and_die, args=(small_msd,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    folders = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(folders) == 1 and folders[0].name.startswith(".") and list(folders[0].glob("*.npy"))
    dataset, cases = hippocampus(small_msd)
    cache = prepare(dataset, "hippocampus", cases, recipe())
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [cache.folder]
    assert all(cache.image(case.id).shape[0] == 1 for case in cases)


def test_who_waits_for_a_cache_gives_signs_of_life(
    small_msd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocessing, "_WAIT", 0.05)
    dataset, cases = hippocampus(small_msd)
    cache = prepare(dataset, "hippocampus", cases, recipe())
    shutil.rmtree(cache.folder)  # as if it were not there yet
    other, ticks = FileLock(f"{cache.folder}.lock"), []
    other.acquire()

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            other.release()

    prepare(dataset, "hippocampus", cases, recipe(), tick)
    assert len(ticks) == 3 + len(cases)


def _prepare_in_a_process(root: Path) -> str:
    dataset, cases = hippocampus(root)

    def tick() -> None:
        time.sleep(0.05)  # so that the other process comes while this one builds
        with (root / "builds").open("a") as file:
            file.write(f"{os.getpid()}\n")

    return prepare(dataset, "hippocampus", cases, recipe(), tick).folder.name


def test_processes_that_start_together_build_one_cache_once(small_msd: Path, tmp_path: Path) -> None:
    context = get_context("spawn")
    together = context.Barrier(2)
    with ProcessPoolExecutor(2, mp_context=context, initializer=together.wait, initargs=(60,)) as pool:
        names = list(pool.map(_prepare_in_a_process, [small_msd] * 2))
    assert names[0] == names[1]
    folders = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert [path.name for path in folders] == [names[0]]
    builds = (small_msd / "builds").read_text().split()
    assert len(builds) == 8 and len(set(builds)) == 1
