"""What a plan says of the sizes of a study's splits, with the data and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.commands.plan import plan
from harness.commands.split_sizes import SplitSize, split_sizes
from harness.data.check_dataset import check_dataset
from harness.data.datasets.nnunet import NNUNet
from harness.data.part_counts import unread_split_file
from harness.study.expand import load_study

BASE = "question: why?\nbase: {dataset: '%s', architecture: unet, method: supervised, recipe: {patch: [16, 16, 16], spacing: [1, 1, 1]}, split: %s}\n"


@pytest.fixture
def sizes(tmp_path: Path):
    """Return a function that gives the sizes of the splits of a study, for a folder of eight cases, two of them to test on."""
    folder = tmp_path / "data" / "Mine"
    for name in ("imagesTr/c%d_0000", "labelsTr/c%d", "imagesTs/t%d_0000", "labelsTs/t%d"):
        for number in range(2 if "Ts" in name else 6):
            path = folder / f"{name % number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    description = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "organ": 1},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    folds = [
        {"train": [f"c{n}" for n in range(6) if n % 3 != k], "val": [f"c{k}", f"c{k + 3}"]} for k in range(3)
    ]
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    own = {"train": ["c0", "c1"], "validation": [], "test": ["c3", "c4", "t0"]}
    (tmp_path / "own.json").write_text(json.dumps(own))

    def sized(split: str = "{}", dataset: str = "nnunet:Mine", data: bool = True) -> list[SplitSize]:
        path = tmp_path / "mine.yaml"
        path.write_text(BASE % (dataset, split))
        cells = load_study(str(path)).cells
        return split_sizes([cell.spec.dataset for cell in cells], tmp_path / "data" if data else tmp_path)

    return sized


def text(sizes: list[SplitSize]) -> str:
    return "\n".join(line for one in sizes for line in one.lines())


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("{}", "5 training, 1 validation and 2 test cases"),
        ("{name: generated}", "4 training, 1 validation and 1 test cases"),
        ("{folds: 3}", "4 training, 2 validation and 2 test cases in each of 3 folds, 2 tested in all"),
        ("{folds: 3, name: generated}", "3 training, 1 validation and 2 test cases in each of 3 folds, 6 tested in all"),
        ("{folds: 3, fold: 1}", "4 training, 2 validation and 2 test cases (the split has 3)"),
        ("{file: folds.json, fold: 0}", "4 training, 2 validation and 2 test cases (the split has 3)"),
        ("{file: own.json}", "2 training, 0 validation and 3 test cases"),
        ("{exclude: [c0, t1]}", "4 training, 1 validation and 1 test cases"),
    ],
)  # fmt: skip
def test_with_the_data(sizes, split: str, said: str) -> None:
    lines = text(sizes(split)).splitlines()
    counts, _, declared = said.partition(" (")
    unknown = "; which cases are of one patient is not known, so each counts as one"
    assert lines[0] == f"split of nnunet:Mine: {counts}{unknown}{declared and f' ({declared}'}"
    assert lines[1].startswith("warning: ") and "too few for any test" in lines[1]


def test_without_the_data_only_lists_are_known(sizes) -> None:
    assert "known only where the data are" in text(sizes(data=False))
    assert "known only where the data are" in text(sizes("{file: folds.json}", data=False))
    assert "2 training, 0 validation and 3 test cases" in text(sizes("{file: own.json}", data=False))
    assert "140 training, 20 validation and 40 test cases of 70, 10 and 20 patients" in text(
        sizes(dataset="acdc", data=False)
    )
    by_file = text(sizes("{file: folds.json}", "hippocampus", data=False))
    assert "2 test cases in each of 3 folds, 6 tested in all" in by_file


def test_a_split_that_does_not_fit_is_said(sizes) -> None:
    assert "found 7; expected no more than the 6 patient(s)" in text(sizes("{folds: 7, name: generated}"))
    assert "split.exclude: found c9" in text(sizes("{exclude: [c9]}"))


def test_a_split_file_in_the_folder_is_told_of(sizes, tmp_path: Path) -> None:
    dataset = NNUNet.of_folder("Mine")()
    assert unread_split_file(dataset, tmp_path / "data") == ""
    (tmp_path / "data" / "Mine" / "splits_final.json").write_text("[]")
    assert "splits_final.json is read only where a study names it as split.file" in text(sizes())
    assert "splits_final" not in text(sizes("{file: folds.json}"))
    found = check_dataset(dataset, tmp_path / "data")
    (own,) = [one for one in found.findings if one.code == "split_file_not_read"]
    assert "by default the test cases are those in imagesTs with labels in labelsTs" in own.message
    assert found.parts is not None and found.parts.tested == 2


def test_a_plan_has_them(sizes, tmp_path: Path) -> None:
    sizes("{folds: 3}")
    (size,) = plan(str(tmp_path / "mine.yaml"), results=tmp_path / "results", data=tmp_path / "data").splits
    assert size.as_json()["tested"] == 2 and "too few" in size.as_json()["warning"]
