"""Copies of images, their windows and orientation, and the slice and the part of it that are shown."""

from pathlib import Path

import numpy as np

from harness.reporting.slices.geometry import fullest_slice, to_ras, zoom_box
from harness.reporting.slices.images import CaseImage, case_image, to_8_bit


def test_image_is_copied_once_and_read_back(tmp_path: Path) -> None:
    found = case_image(tmp_path, "phantom", "phantom_001", None)
    assert isinstance(found, CaseImage)
    assert found.image.dtype == found.label.dtype == np.uint8
    assert found.image.shape == found.label.shape
    assert np.linalg.norm(found.affine[:3, :3], axis=0).tolist() == [1.0, 1.0, 2.0]
    copies = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert copies == [tmp_path / "images" / "phantom" / "phantom_001.npz"]
    again = case_image(tmp_path, "phantom", "phantom_001", None)
    assert isinstance(again, CaseImage)
    assert np.array_equal(again.image, found.image) and np.array_equal(again.affine, found.affine)
    copies[0].write_bytes(b"torn")
    assert isinstance(case_image(tmp_path, "phantom", "phantom_001", None), CaseImage)


def test_image_that_is_nowhere_has_a_reason(tmp_path: Path) -> None:
    assert "phantom has no case nobody" in str(case_image(tmp_path, "phantom", "nobody", None))
    assert "--data" in str(case_image(tmp_path, "hippocampus", "hippocampus_001", None))
    assert "an address that fails to load" in str(case_image(tmp_path, "no.module:Set", "x/../y", None))


def test_window_is_that_of_the_labelled_box() -> None:
    image = np.full((4, 4, 4), -1000.0)
    image[1:3, 1:3, 1:3] = np.linspace(0, 100, 8).reshape(2, 2, 2)
    label = np.zeros((4, 4, 4), np.uint8)
    label[1:3, 1:3, 1:3] = 1
    found = to_8_bit(image, label)
    assert (found[0, 0, 0], found[1, 1, 1], found[2, 2, 2]) == (0, 0, 255)
    assert to_8_bit(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), np.uint8)).max() == 0


def test_ras() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    affine = np.array([[0, -2.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])  # axes: anterior, left
    turned, spacing = to_ras(array, affine)
    assert turned.shape == (3, 2, 4)
    assert spacing == (2.0, 1.0, 3.0)
    assert turned[0, 1, 0] == array[1, 2, 0]


def test_fullest_slice() -> None:
    label = np.zeros((3, 3, 5), np.uint8)
    assert fullest_slice(label) == 2
    label[0, 0, 1], label[:2, 0, 3] = 1, 1
    assert fullest_slice(label) == 3


def test_the_enlarged_part_is_where_most_errors_are() -> None:
    labelled, wrong = np.zeros((100, 200), bool), np.zeros((100, 200), int)
    labelled[30:50, 60:100] = True  # a fifth of either side
    wrong[5:15, 150:170] = 2
    top, bottom, left, right = zoom_box(labelled, wrong)
    assert (bottom - top, right - left) == (20, 40)  # the least: a fifth of the slice
    assert top <= 5 and bottom >= 15 and left <= 150 and right >= 170
    assert zoom_box(labelled, np.zeros((100, 200), int)) == (40, 60, 80, 120)
    assert zoom_box(np.zeros((100, 200), bool), wrong * 0) == (25, 75, 50, 150)
