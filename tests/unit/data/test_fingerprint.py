"""What is read of a dataset before there is a recipe, and the recipe of a folder that a study leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.data.default_recipe import DefaultRecipes
from harness.data.fingerprint import Grid, read_headers, read_voxels
from harness.errors import UserError
from harness.study.expand import load_study

SHAPE = (24, 20, 12)
AFFINE = np.diag([1.0, 1.5, 3.0, 1.0])


def write(root: Path, channel: str = "MR", cases: int = 6, affine: np.ndarray = AFFINE) -> Dataset:
    """Write a folder of nnU-Net: zeros around a box that begins at 2, of value 10 + case, in which an organ has 100 + case."""
    folder = root / "D"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(cases):
        image, label = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
        image[2:, 3:18, :11] = 10 + number
        label[4:8, 4:8, 4:8], label[9:11, 9:11, 4:8] = 1, 2
        image[label == 1], image[label == 2] = 100 + number, 500
        nibabel.save(nibabel.Nifti1Image(image, affine), folder / "imagesTr" / f"c{number}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, affine), folder / "labelsTr" / f"c{number}.nii.gz")
    description = {"channel_names": {"0": channel}, "file_ending": ".nii.gz"}
    description["labels"] = {"background": 0, "organ": 1, "ignore": 2}
    (folder / "dataset.json").write_text(json.dumps(description))
    return registry.load("dataset", "nnunet:D")()


def test_headers_and_voxels(tmp_path: Path) -> None:
    dataset = write(tmp_path)
    found = read_headers(dataset, tmp_path)
    assert found.grids == (Grid(SHAPE, (1.0, 1.5, 3.0)),) * 6 and found.share is None
    assert found.channels == ("MR",) and found.labels == ("organ",) and found.classes == 2
    told: list[tuple[int, int]] = []
    whole = read_voxels(dataset, "nnunet:D", tmp_path, lambda *one: told.append(one))
    assert whole.grids == (Grid((22, 15, 11), (1.0, 1.5, 3.0)),) * 6 and told[-1] == (6, 6)
    assert whole.share == pytest.approx(22 * 15 * 11 / (24 * 20 * 12)) and whole.levels is None


def test_axes_are_put_in_order(tmp_path: Path) -> None:
    turned = AFFINE[:, [2, 0, 1, 3]]  # the first axis of the array runs along z
    found = read_headers(write(tmp_path, affine=turned), tmp_path)
    assert found.grids[0] == Grid((20, 12, 24), (1.0, 1.5, 3.0))


def test_levels_of_ct_are_those_of_labels_that_are_not_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write(tmp_path, channel="CT")
    read: set[str] = set()
    label = type(dataset).label
    monkeypatch.setattr(type(dataset), "label", lambda self, case: read.add(case.id) or label(self, case))
    levels = read_voxels(dataset, "nnunet:D", tmp_path).levels
    assert levels is not None and len(read) == 5, "of six patients one is for testing"
    expected = np.repeat([100.0 + int(case[1:]) for case in read], 64)  # the ignored label's 500 are in none
    low, high = np.percentile(expected, (0.5, 99.5))
    assert (levels.low, levels.high) == pytest.approx((low, high))
    assert (levels.mean, levels.deviation) == pytest.approx((expected.mean(), expected.std()))


STUDY = "question: why?\nbase: {dataset: 'nnunet:D', architecture: dynunet, recipe: {steps: 2%s}}\ngrid: {method: [supervised]}\n"


@pytest.fixture
def recipe_of(tmp_path: Path) -> Callable:
    """Return a function that gives the recipe of a study on the folder, with further keys."""

    def load(keys: str = "", data: Path | None = tmp_path):
        (tmp_path / "s.yaml").write_text(STUDY % keys)
        return load_study(str(tmp_path / "s.yaml"), data=data).cells[0].spec.recipe

    return load


def test_the_default_recipe_of_a_folder(
    recipe_of: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    found = recipe_of()
    # the whole volume fits; 24 -> 12 -> 6, 20 -> 10 -> 5, and z is halved once its 3 mm are below twice 2 mm
    assert found.spacing == (1.0, 1.5, 3.0) and found.patch == (24, 20, 12) and found.batch == 2
    assert found.intensity == "zscore" and found.crop == "foreground" and found.augmentation.noise_probability
    assert found.augmentation.mirror_axes == () and found.augmentation.rotation == 30.0
    assert recipe_of(", spacing: [3, 3, 3]").patch == (24, 20, 12), "the patch of the files goes with theirs"
    monkeypatch.setattr("harness.data.fingerprint.read_headers", None)  # nothing is read
    set_by_hand = recipe_of(", patch: [64, 64, 16], spacing: [1, 1, 5]", data=None)
    assert set_by_hand.augmentation.planar and set_by_hand.augmentation.rotation == 180.0
    assert not recipe_of(
        ", patch: [64, 64, 16], spacing: [1, 1, 5], augmentation: {planar: false}"
    ).augmentation.planar


def test_without_the_folder_a_study_has_to_say_both(recipe_of: Callable, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nnunet:D.*Or set recipe\.patch and recipe\.spacing"):
        recipe_of(", patch: [16, 16, 16]", data=tmp_path)
    assert recipe_of(", patch: [16, 16, 16], spacing: [1, 1, 1]").patch == (16, 16, 16)
    with pytest.raises(UserError, match=r"recipe\.patch"):
        recipe_of(", patch: 16, spacing: [1, 1, 1]")


def test_headers_are_read_once_for_all_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = type(write(tmp_path))
    calls = []
    monkeypatch.setattr(
        "harness.data.fingerprint.read_headers", lambda *one: calls.append(one) or read_headers(*one)
    )
    defaults = DefaultRecipes(tmp_path)
    assert defaults.of(dataset, {}) == defaults.of(dataset, {"spacing": (1.0, 1.5, 3.0)}) and len(calls) == 1
