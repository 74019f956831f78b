"""Labels above 255 and ignored voxels: from the files' numbers to those of training, and back."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data.datasets.contract import Case, Dataset
from harness.data.datasets.nnunet import NNUNet
from harness.data.nifti import read_label, write_label
from harness.data.numbering import IGNORE, Numbering
from harness.errors import UserError

WHOLE_HEART = {0: "background", 205: "LV", 420: "LA", 500: "Myo", 550: "RV", 600: "RA", 820: "AO", 850: "PA"}


class Heart(Dataset):
    """The labels of MM-WHS."""

    channels = ("CT",)
    labels = WHOLE_HEART
    regions = {"LV": (205,), "whole": tuple(value for value in WHOLE_HEART if value)}


def labels_like(values: list[int], dtype: type, order: str = "C") -> np.ndarray:
    drawn = np.random.default_rng(0).choice(values, (5, 6, 7)).astype(dtype)
    return np.asarray(drawn, order=order)  # type: ignore[call-overload]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.int64])
def test_labels_of_a_whole_heart_become_consecutive_and_come_back(dtype: type, order: str) -> None:
    array = labels_like(list(WHOLE_HEART), dtype, order)
    training = Heart().to_training(array)
    assert training.dtype == np.uint8
    for index, value in enumerate(sorted(WHOLE_HEART)):
        assert np.array_equal(training == index, array == value)
    back = Heart().to_file(training)
    assert back.dtype == np.uint16 and np.array_equal(back, array)


def test_names_and_regions_are_told_in_both_numberings() -> None:
    dataset = Heart()
    assert dict(dataset.labels) == WHOLE_HEART and dataset.scored_regions()["LV"] == (205,)
    assert dataset.training_labels() == dict(enumerate(WHOLE_HEART.values()))
    assert dataset.training_regions() == {"LV": (1,), "whole": (1, 2, 3, 4, 5, 6, 7)}
    assert dataset.training_ignore() is None


def test_labels_that_are_bytes_stay_as_they_are() -> None:
    class Gaps(Dataset):
        channels, labels = ("CT",), {0: "background", 3: "a", 255: "b"}

    dataset, array = Gaps(), labels_like([0, 3, 255], np.uint8)
    assert dataset.to_training(array) is array and dataset.to_file(array) is array
    assert dataset.training_labels() == dict(dataset.labels)
    assert dataset.training_regions() == dataset.scored_regions() == {"a": (3,), "b": (255,)}
    assert dataset.described() == repr([dataset.channels, dataset.labels, None])
    assert np.array_equal(dataset.to_training(array.astype(np.int64)), array)


@pytest.mark.parametrize(
    ("labels", "value"), [((0, 1), 257), ((0, 1), -1), ((0, 1, 300), 44), ((0, 300), 556)]
)
def test_a_value_that_is_not_declared_is_never_taken_for_another(labels: tuple[int, ...], value: int) -> None:
    array = np.zeros((3, 3, 3), np.int16)
    array[1, 1, 1] = value
    with pytest.raises(UserError, match=str(value)):
        Numbering(labels, None, "x").to_training(array)


def test_ignored_voxels_get_a_number_of_their_own() -> None:
    """Also where a label is 255 itself, and where the ignored number lies among the labels."""
    numbering = Numbering([0, 1, 255, 3], 2, "x")
    array = np.array([[[0, 1, 2, 3, 255]]])
    training = numbering.to_training(array)
    assert training.tolist() == [[[0, 1, IGNORE, 2, 3]]]
    back = numbering.to_file(training)
    assert back.dtype == np.uint8 and np.array_equal(back, array)
    high = Numbering([0, 1], 1000, "x")
    assert high.to_training(np.array([[[0, 1, 1000]]])).tolist() == [[[0, 1, IGNORE]]]
    assert high.to_file(np.array([[[0, 1]]], np.uint8)).tolist() == [[[0, 1]]]


@pytest.mark.parametrize(
    ("labels", "ignore", "said"),
    [
        ([0, -1], None, "label -1"),
        ([0, "1"], None, "label '1'"),
        ([0, 1.5], None, "label 1.5"),
        ([0, True], None, "label True"),
        ([0, 2**32], None, "label 4294967296"),
        ([0, 1], 1, "1 as the ignored label and as a label"),
        ([1, 2], 0, "0 as the ignored label"),
        ([0, 1], "2", "label '2'"),
        ([*range(256), 300], None, "257 labels; expected 256 at most"),
        (list(range(256)), 256, "256 labels; expected 255 at most"),
    ],
)
def test_labels_that_cannot_be_numbered_are_refused(labels: list, ignore: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Numbering(labels, ignore, "x")  # type: ignore[arg-type]


def test_as_many_labels_as_fit_are_numbered() -> None:
    most = Numbering([*range(255), 300], None, "x")
    assert most.to_training(np.array([[[300, 254]]])).tolist() == [[[255, 254]]]
    with_ignored = Numbering(range(255), 255, "x")
    assert with_ignored.to_training(np.array([[[254, 255]]])).tolist() == [[[254, IGNORE]]]


@pytest.mark.parametrize(("highest", "dtype"), [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_files_hold_labels_in_the_smallest_type(highest: int, dtype: type, tmp_path: Path) -> None:
    numbering = Numbering([0, 9, highest], 10, "x")
    training = labels_like([0, 1, 2], np.uint8)
    write_label(tmp_path / "x.nii.gz", numbering.to_file(training), np.eye(4))
    stored = nibabel.load(tmp_path / "x.nii.gz")  # type: ignore[attr-defined]
    assert stored.get_data_dtype() == dtype
    assert np.array_equal(np.asarray(stored.dataobj), np.array([0, 9, highest])[training])
    read = read_label(tmp_path / "x.nii.gz", {0: "", 9: "", highest: ""})
    assert read.array.dtype == dtype and np.array_equal(numbering.to_training(read.array), training)


def described(**labels: object) -> NNUNet:
    dataset = NNUNet()
    dataset.describe({"channel_names": {"0": "CT"}, "labels": labels})
    return dataset


def test_nnunets_ignored_label_is_no_class_and_no_region() -> None:
    dataset = described(background=0, whole=[1, 2], core=2, ignore=3)
    assert (
        dataset.ignore == 3
        and set(dataset.labels) == {0, 1, 2}
        and set(dataset.file_labels()) == {0, 1, 2, 3}
    )
    assert dataset.training_regions() == {"whole": (1, 2), "core": (2,)}
    assert described(background=0, a=1).ignore is None


def test_what_is_declared_of_labels_enters_the_content_where_it_changes_numbers(tmp_path: Path) -> None:
    plain, two, three = described(background=0, a=1), described(background=0, a=1, ignore=2), described(background=0, a=1, ignore=3)  # fmt: skip
    assert plain.described() == repr([plain.channels, plain.labels, plain.regions])
    assert len({one.described() for one in (plain, two, three)}) == 3
    file = tmp_path / "x"
    file.write_bytes(b"x")
    case = Case("x", "x", file, file)
    assert len({one.content(case) for one in (plain, two, three)}) == 3


def test_a_range_of_four_bytes_is_never_walked_through(tmp_path: Path) -> None:
    array = np.zeros((3, 3, 3), np.float64)
    array[0, 0, 0], array[1, 1, 1] = 70_000, 4_000_000_000
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "x.nii")  # type: ignore[attr-defined]
    assert np.array_equal(read_label(tmp_path / "x.nii", range(2**32)).array, array)
    for broken in (2.5, np.nan, np.inf, -1):
        array[2, 2, 2] = broken
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "x.nii")  # type: ignore[attr-defined]
        with pytest.raises(UserError, match="whole numbers from 0"):
            read_label(tmp_path / "x.nii", range(2**32))
