"""MetaImage and NRRD, read by SimpleITK: what it writes from a NIfTI file is read as that file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data.itk import data_files, itk_grid
from harness.data.nifti import grid_of, read_image, read_label
from harness.errors import UserError

SimpleITK = pytest.importorskip("SimpleITK")
SUFFIXES = (".mha", ".mhd", ".nrrd")


def oblique(angle: float = 0.3) -> np.ndarray:
    """Return an affine whose axes are turned, flipped and in another order than those of space."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]) @ np.diag([0.7, 1.3, 5])
    affine[:3, 3] = -12.5, 30.25, -101
    return affine


AFFINES = {"plain": np.eye(4), "left to the back": np.diag([-0.8, -0.8, 3, 1]), "oblique": oblique()}


def nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    nibabel.save(image, path)
    return path


def converted(path: Path, suffix: str) -> Path:
    """Return the file as SimpleITK writes it, which reads NIfTI by rules of its own."""
    other = path.with_name(path.name.partition(".")[0] + suffix)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(other))
    return other


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("affine", AFFINES)
def test_a_volume_is_read_as_the_nifti_of_it(tmp_path: Path, suffix: str, affine: str) -> None:
    rng = np.random.default_rng(0)
    image = nifti(tmp_path / "i.nii.gz", rng.normal(size=(7, 5, 6)).astype(np.float32), AFFINES[affine])
    label = nifti(tmp_path / "l.nii.gz", rng.integers(0, 4, (7, 5, 6)).astype(np.uint8), AFFINES[affine])
    for path, read in ((image, read_image), (label, lambda path: read_label(path, range(4)))):
        expected, found = read(path), read(converted(path, suffix))
        np.testing.assert_array_equal(found.array, expected.array)
        assert found.array.dtype == expected.array.dtype
        np.testing.assert_allclose(found.affine, expected.affine, atol=1e-6 * 101)
        np.testing.assert_allclose(found.spacing, expected.spacing, rtol=1e-6)
        grid = grid_of(converted(path, suffix))
        assert grid is not None and grid[1] == (7, 5, 6)
        np.testing.assert_array_equal(grid[0], found.affine)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_channels_lie_in_a_fourth_axis_or_in_each_voxel(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(0).normal(size=(7, 5, 6, 3)).astype(np.float32)
    series = converted(nifti(tmp_path / "series.nii.gz", array, oblique()), suffix)
    vectors = tmp_path / f"vectors{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.swapaxes(array, 0, 2), isVector=True), str(vectors))
    for path in (series, vectors):
        volume = read_image(path, channels=3)
        np.testing.assert_array_equal(volume.array, np.moveaxis(array, 3, 0))
    np.testing.assert_allclose(read_image(series, 3).affine, oblique(), atol=1e-4)
    with pytest.raises(UserError, match=r"shape \(7, 5, 6, 3\); expected a volume with 1 channel"):
        read_image(series)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-40])
    return path


def emptied(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def text(path: Path) -> Path:
    path.write_text("a login page")
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", [cut, emptied, text])
def test_damaged_files_are_refused_in_one_line(
    tmp_path: Path, suffix: str, damage: Callable[[Path], Path]
) -> None:
    path = converted(nifti(tmp_path / "x.nii.gz", np.ones((7, 5, 6), np.float32), np.eye(4)), suffix)
    damage(path.with_suffix(".raw") if suffix == ".mhd" and damage is cut else path)
    with pytest.raises(UserError, match=rf"x\{suffix}: found a file that cannot be read \(.+\); expected"):
        read_image(path)


def test_without_simpleitk_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    (tmp_path / "x.nrrd").write_bytes(b"NRRD0004")
    with pytest.raises(
        UserError, match=r"pip install SimpleITK.*convert it to NIfTI \(c3d x\.nrrd -o x\.nii\.gz"
    ):
        read_image(tmp_path / "x.nrrd")
    assert itk_grid(tmp_path / "x.nrrd") is None


def test_voxels_of_their_own_file_are_found(tmp_path: Path) -> None:
    path = converted(nifti(tmp_path / "x.nii.gz", np.ones((7, 5, 6), np.uint8), np.eye(4)), ".mhd")
    assert data_files(path) == (tmp_path / "x.raw",)
    for suffix in (".mha", ".nrrd"):
        assert data_files(converted(tmp_path / "x.nii.gz", suffix)) == ()
    assert data_files(tmp_path / "x.nii.gz") == ()


@pytest.mark.parametrize("name", ["../other/x.raw", "/etc/x.raw", "LIST", "x%02d.raw 1 6 1"])
def test_voxels_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = converted(nifti(tmp_path / "x.nii.gz", np.ones((7, 5, 6), np.uint8), np.eye(4)), ".mhd")
    path.write_text(path.read_text().replace("x.raw", name))
    with pytest.raises(UserError, match=r"x\.mhd: found voxels in"):
        read_label(path, range(2))
