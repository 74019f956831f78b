"""Which files are the channels of a case, and which names only look like it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness import registry
from harness.data.check_dataset import check_dataset
from harness.data.layouts import channel_fault, pair
from harness.errors import UserError

V2 = {"channel_names": {"0": "T1", "1": "T2", "2": "FLAIR"}, "labels": {"background": 0, "a": 1}}
CHANNELS = tuple(V2["channel_names"].values())


def paths(*names: str) -> list[Path]:
    return [Path("x") / f"{name}.nii.gz" for name in names]


def found(images: list[str], labels: list[str], numbered: bool = False) -> dict[str, list[str]]:
    files = pair(paths(*images), paths(*labels), Path("x"), numbered=numbered)
    return {one.id: [path.name.partition(".")[0] for path in one.images] for one in files}


@pytest.mark.parametrize("numbered", [False, True])
def test_an_image_of_the_labels_name_is_the_case(numbered: bool) -> None:
    names = ["amos_0001", "amos_0004", "amos_0005"]
    assert found(names, names, numbered) == {name: [name] for name in names}


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("case", ["c1", "amos_0001", "a_b_0000"])
def test_files_of_channels_belong_to_the_case_before_their_number(case: str, numbered: bool) -> None:
    images = [f"{case}_{number:04d}" for number in range(3)]
    assert found(images, [case], numbered) == {case: images}


def test_names_of_four_digits_may_stand_for_a_case_and_for_a_channel() -> None:
    labels, one = ["c", "c_0001"], ["c_0000", "c_0001", "c_0001_0000", "c_0001_0001"]
    assert found(one, labels, numbered=True) == {"c": one[:2], "c_0001": one[2:]}
    assert found(["c", "c_0001"], labels) == {"c": ["c"], "c_0001": ["c_0001"]}


@pytest.mark.parametrize(
    ("images", "labels"), [(["a", "a"], ["a"]), (["a"], ["a", "a"])], ids=["images", "labels"]
)
def test_two_files_of_one_name_are_refused(images: list[str], labels: list[str]) -> None:
    given = [
        [Path(f"{name}{suffix}") for name, suffix in zip(names, (".nii.gz", ".mha"), strict=False)]
        for names in (images, labels)
    ]
    with pytest.raises(UserError, match=r"a\.\S+ and a\.\S+; expected one .* for a case"):
        pair(*given, Path("x"))


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (["c_0000", "c_0001", "c_0002"], None),
        (["c"], None),
        (["c_0000"], None),  # may hold all channels; whoever reads it looks
        (["T1", "T2", "FLAIR"], None),
        (["T1_0001", "T2_0001", "FLAIR_0001"], None),  # the number is no channel's
        (["c_0000", "c_0001"], "without c_0002 (FLAIR)"),
        (["c_0000", "c_0002"], "without c_0001 (T2)"),
        (["c_0001"], "without c_0000 (T1), c_0002 (FLAIR)"),
        (["c_0000", "c_0001", "c_0002", "c_0003"], "with c_0003"),
        (["c_0000", "c_0002", "c_0003"], "without c_0001 (T2) and with c_0003"),
        (["T1", "T2"], "2 channel files"),
    ],
)
def test_what_lacks_or_is_too_many_is_named(images: list[str], fault: str | None) -> None:
    said = channel_fault("c", paths(*images), CHANNELS)
    assert (said is None) == (fault is None) and (fault is None or fault in said[0])


def write(folder: Path, files: dict[str, list[int]], description: object = V2) -> None:
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for index, (case, numbers) in enumerate(files.items()):
        label = np.zeros((9, 9, 9), np.uint8)
        label[index : index + 4, 2:5, 2:5] = 1
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), folder / "labelsTr" / f"{case}.nii.gz")
        for number in numbers:
            image = nibabel.Nifti1Image(rng.normal(size=label.shape).astype(np.float32), np.eye(4))
            nibabel.save(image, folder / "imagesTr" / f"{case}_{number:04d}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps(description))


@pytest.mark.parametrize("numbers", [[0, 1], [0, 2], [1, 2], [0, 1, 2, 3], [0, 2, 3], [0]])
def test_a_check_and_a_run_name_exactly_the_cases_that_lack_a_channel(
    tmp_path: Path, numbers: list[int]
) -> None:
    write(tmp_path / "D", {"c0": [0, 1, 2], "c1": numbers, "c2": [0, 1, 2], "c_0003": [0, 1, 2]})
    dataset = registry.load("dataset", "nnunet:D")()
    report = check_dataset(dataset, tmp_path)
    errors = [one for one in report.findings if one.level == "error"]
    assert {(one.case, one.code) for one in errors} == {("c1", "channel_count")} and report.cases == 4
    for case in dataset.cases(tmp_path):
        if case.id == "c1":
            with pytest.raises(UserError, match="c1_000"):
                dataset.image(case)
        else:
            assert dataset.image(case).array.shape == (3, 9, 9, 9)


def test_a_channel_on_another_grid_is_refused_and_one_that_is_flipped_is_turned(tmp_path: Path) -> None:
    write(tmp_path / "D", {"c0": [0, 1, 2], "c1": [0, 1, 2]})
    dataset = registry.load("dataset", "nnunet:D")()
    one, other = dataset.cases(tmp_path)
    whole = dataset.image(one).array
    flipped, moved = one.channels[0], other.channels[1]
    file = nibabel.load(flipped)
    affine = np.diag([-1.0, 1, 1, 1])
    affine[0, 3] = 8
    nibabel.save(nibabel.Nifti1Image(np.asarray(file.dataobj)[::-1], affine), flipped)
    nibabel.save(
        nibabel.Nifti1Image(np.asarray(nibabel.load(moved).dataobj), np.diag([1.02, 1, 1, 1])), moved
    )
    np.testing.assert_array_equal(dataset.image(one).array, whole)
    with pytest.raises(UserError, match=rf"{moved.name}: found an affine by which a corner lies 0.18 mm"):
        dataset.image(other)
    found = {one.code: Path(one.file) for one in check_dataset(dataset, tmp_path).findings}
    assert found == {"axes_turned": flipped, "affine_mismatch": moved}


@pytest.mark.parametrize("ending", [".nii.gz", "nii.gz", ".nii", None])
def test_files_have_the_ending_that_is_stated_if_any_have(tmp_path: Path, ending: str | None) -> None:
    write(
        tmp_path / "D",
        {"c0": [0], "c1": [0]},
        {**V2, "channel_names": {"0": "T1"}, "file_ending": ending or ""},
    )
    dataset = registry.load("dataset", "nnunet:D")()
    assert [case.label.name for case in dataset.cases(tmp_path)] == ["c0.nii.gz", "c1.nii.gz"]
    for path in (tmp_path / "D").rglob("c*.nii.gz"):
        path.with_suffix("").write_bytes(b"another's file of the same case")
    if ending is None:
        with pytest.raises(UserError, match="one label for a case"):
            dataset.cases(tmp_path)
    else:
        suffix = f".{ending.lstrip('.')}"
        assert {path.name.partition(".")[2] for case in dataset.cases(tmp_path) for path in case.files} == {
            suffix[1:]
        }
