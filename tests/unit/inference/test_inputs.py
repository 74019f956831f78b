"""Which files are the channels of which case."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.inference.inputs import cases_of


def folder(path: Path, *names: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (path / name).touch()
    return path


def found(path: Path, channels: tuple[str, ...] = ("MRI",)) -> dict[str, list[str]]:
    return {case.id: [file.name for file in case.files] for case in cases_of([path], channels)}


def test_a_file_is_a_case(tmp_path: Path) -> None:
    files = folder(tmp_path, "b.nii", "a.nii.gz", "notes.txt", "._a.nii.gz", "a_gt.nii.gz")
    assert found(files) == {"a": ["a.nii.gz"], "b": ["b.nii"]}
    assert found(files / "b.nii") == {"b": ["b.nii"]}


def test_numbers_of_one_channel(tmp_path: Path) -> None:
    """amos_0001 and amos_0002 are cases; x_0000 is nnU-Net's name of x."""
    files = folder(tmp_path, "amos_0001.nii.gz", "amos_0002.nii.gz", "x_0000.nii.gz", "patient_001.nii.gz")
    assert list(found(files)) == ["amos_0001", "amos_0002", "patient_001", "x"]


def test_channels_of_a_case(tmp_path: Path) -> None:
    files = folder(
        tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0001.nii.gz", "b_0000.nii.gz", "whole.nii.gz"
    )
    assert found(files, ("T1", "T2")) == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
        "whole": ["whole.nii.gz"],  # one file may hold both
    }


def test_a_missing_channel_is_named(tmp_path: Path) -> None:
    files = folder(tmp_path, "a_0000.nii.gz", "a_0002.nii.gz")
    with pytest.raises(UserError, match=r"a: found 2 channel file\(s\), without a_0001 \(T2\)"):
        found(files, ("T1", "T2", "FLAIR"))


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        ((), "", "a folder without an image"),
        (("a.png",), "a.png", "a file of another kind"),
        ((), "nowhere", "no such file or folder"),
    ],
)
def test_what_is_no_image_is_refused(
    tmp_path: Path, names: tuple[str, ...], given: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        found(folder(tmp_path, *names) / given)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one", "a.nii.gz"), folder(tmp_path / "other", "a.nii")
    with pytest.raises(UserError, match="a name of its own"):
        cases_of([one, other], ("MRI",))
    assert len(cases_of([one, one / "a.nii.gz"], ("MRI",))) == 1
