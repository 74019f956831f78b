"""The test cases that a folder of nnU-Net or of the Decathlon has apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data.datasets.contract import Dataset
from harness.data.datasets.msd import MSD
from harness.data.datasets.nnunet import NNUNet
from harness.errors import UserError


@pytest.fixture(params=["nnunet", "msd"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Dataset, Path]:
    """Return a dataset of three training cases, and its folder."""
    place = tmp_path / "Mine"
    ending = "_0000" if request.param == "nnunet" else ""
    for number in range(3):
        add(place, "Tr", f"c{number}", ending)
    labels = {"background": 0, "organ": 1}
    description: dict[str, object] = {
        "channel_names": {"0": "MR"},
        "labels": labels,
        "file_ending": ".nii.gz",
    }
    if request.param == "msd":
        training = [{"image": f"imagesTr/c{n}.nii.gz", "label": f"labelsTr/c{n}.nii.gz"} for n in range(3)]
        description = {
            "modality": {"0": "MR"},
            "labels": {"0": "background", "1": "organ"},
            "training": training,
        }
    (place / "dataset.json").write_text(json.dumps(description))
    return (NNUNet if request.param == "nnunet" else MSD).of_folder("Mine")(), place


def add(place: Path, part: str, case: str, ending: str = "", labelled: bool = True) -> None:
    for kind, name in (("images", f"{case}{ending}"), *([("labels", case)] if labelled else [])):
        path = place / f"{kind}{part}" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def own_cases(dataset: Dataset, place: Path) -> list[str]:
    return [case.id for case in dataset.cases(place.parent) if case.test]


def test_images_with_labels_are_test_cases(folder: tuple[Dataset, Path]) -> None:
    dataset, place = folder
    assert own_cases(dataset, place) == []
    ending = "_0000" if dataset.name() == "nnunet" else ""
    add(place, "Ts", "t0", ending, labelled=False)
    assert own_cases(dataset, place) == []
    add(place, "Ts", "t1", ending)
    assert own_cases(dataset, place) == ["t1"]
    assert [case.id for case in dataset.cases(place.parent)] == ["c0", "c1", "c2", "t1"]


def test_a_case_to_train_and_to_test_on_is_refused(folder: tuple[Dataset, Path]) -> None:
    dataset, place = folder
    add(place, "Ts", "c1", "_0000" if dataset.name() == "nnunet" else "")
    with pytest.raises(UserError, match=r"case id 'c1' twice \(to train on and to test on\)"):
        dataset.cases(place.parent)


def test_labels_without_their_images_are_refused(folder: tuple[Dataset, Path]) -> None:
    dataset, place = folder
    (place / "labelsTs").mkdir()
    (place / "labelsTs" / "t0.nii.gz").touch()
    with pytest.raises(UserError, match="0 images and 1 labels without a common case id"):
        dataset.cases(place.parent)
