"""NIfTI files: what is read, and what is refused."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data.nifti import read_image, read_label
from harness.errors import UserError


def save(path: Path, array: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 2, 3, 1])), path)
    return path


def test_channels_come_first_and_spacing_is_in_array_order(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype(np.float32)
    volume = read_image(save(tmp_path / "x.nii.gz", array), channels=2)
    assert volume.array.shape == (2, 4, 5, 6) and volume.spacing == (1, 2, 3)
    assert np.array_equal(volume.array[1], array[..., 1])


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_both_versions_of_the_format_are_read(tmp_path: Path, kind: type, suffix: str) -> None:
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    nibabel.save(kind(array, np.diag([1, 2, 3, 1])), tmp_path / f"x.{suffix}")
    assert np.array_equal(read_image(tmp_path / f"x.{suffix}").array[0], array)


@pytest.mark.parametrize("bad", [7, 1.5, -1])
def test_undeclared_labels_are_refused(tmp_path: Path, bad: float) -> None:
    array = np.zeros((3, 3, 3), np.float32)
    array[1, 1, 1] = bad
    with pytest.raises(UserError, match=r"x\.nii\.gz.*label values"):
        read_label(save(tmp_path / "x.nii.gz", array), {0: "background", 1: "organ"})


def patched(header_at: int, values: bytes) -> Callable[[bytes], bytes]:
    """Return a change of the header at a byte offset of NIfTI-1."""

    def change(packed: bytes) -> bytes:
        raw = bytearray(gzip.decompress(packed))
        raw[header_at : header_at + len(values)] = values
        return gzip.compress(bytes(raw))

    return change


def flip_a_bit(packed: bytes) -> bytes:
    changed = bytearray(packed)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda packed: packed[: len(packed) // 2], id="half of the file"),
        pytest.param(lambda packed: packed[:-8], id="without the checksum"),
        pytest.param(lambda packed: packed[:5], id="five bytes"),
        pytest.param(lambda packed: b"", id="empty"),
        pytest.param(lambda packed: b"no NIfTI", id="text"),
        pytest.param(flip_a_bit, id="one bit flipped"),
        pytest.param(patched(42, np.array([-5, 3, 9], "<i2").tobytes()), id="negative side"),
        pytest.param(patched(42, np.array([30000] * 3, "<i2").tobytes()), id="more voxels than memory"),
        pytest.param(patched(70, np.array([32767], "<i2").tobytes()), id="unknown type of voxel"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "x.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32))
    path.write_bytes(damage(path.read_bytes()))
    for read in (read_image, lambda path: read_label(path, {0: "background"})):
        with pytest.raises(UserError, match=r"x\.nii\.gz: found a file that cannot be read \(.+\); expected"):
            read(path)
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


@pytest.mark.parametrize("dtype", ["complex64", [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_no_real_numbers_are_refused(tmp_path: Path, dtype) -> None:
    path = save(tmp_path / "x.nii.gz", np.zeros((3, 3, 3), dtype))
    for read in (read_image, lambda path: read_label(path, {0: "background"})):
        with pytest.raises(UserError, match=r"x\.nii\.gz: found voxels of type .*real number"):
            read(path)


@pytest.mark.parametrize("row", [(0, 0, 0, 0), (float("nan"), 0, 0, 0), (0, 1, 0, 0)])
def test_an_affine_that_gives_no_grid_is_refused(tmp_path: Path, row: tuple[float, ...]) -> None:
    path = save(tmp_path / "x.nii.gz", np.zeros((3, 3, 3), np.float32))
    sform = patched(280, np.array(row, "<f4").tobytes())
    path.write_bytes(sform(patched(254, np.array([1], "<i2").tobytes())(path.read_bytes())))
    with pytest.raises(UserError, match=r"x\.nii\.gz: found the affine .*Correct the header"):
        read_image(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_intensities_that_are_not_finite_are_counted(tmp_path: Path, value: float) -> None:
    array = np.zeros((3, 3, 3), np.float32)
    array[0, 1, :2] = value
    with pytest.raises(UserError, match=r"x\.nii\.gz: found 2 voxels of NaN or infinity"):
        read_image(save(tmp_path / "x.nii.gz", array))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2)])
def test_other_dimensions_are_refused_with_the_shape_of_the_file(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = save(tmp_path / "x.nii.gz", np.zeros(shape, np.float32))
    for read in (read_image, lambda path: read_label(path, {0: "background"})):
        with pytest.raises(UserError) as refusal:
            read(path)
        assert f"shape {shape}" in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.nii\.gz: found no such file"):
        read_image(tmp_path / "x.nii.gz")


def test_whole_numbers_stored_as_floats_are_labels(tmp_path: Path) -> None:
    array = np.ones((3, 3, 3), np.float32)
    assert read_label(save(tmp_path / "x.nii.gz", array), {0: "a", 1: "b"}).array.dtype == np.uint8


@pytest.mark.parametrize("stored", [np.int16, np.uint8, np.int32, np.uint16])
def test_what_a_headers_scale_made_of_labels_is_rounded(tmp_path: Path, stored: type) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (6, 5, 4))
    file = nibabel.Nifti1Image(labels.astype(float), np.eye(4))
    file.header.set_data_dtype(stored)
    nibabel.save(file, tmp_path / "x.nii.gz")
    for allowed in (range(256), dict.fromkeys(range(5), "")):
        np.testing.assert_array_equal(read_label(tmp_path / "x.nii.gz", allowed).array, labels)


@pytest.mark.parametrize("value", [1.01, 0.5, 2.9])
def test_a_scale_does_not_make_labels_of_other_values(tmp_path: Path, value: float) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (6, 5, 4)).astype(float)
    labels[2, 2, 2] = value
    file = nibabel.Nifti1Image(labels, np.eye(4))
    file.header.set_data_dtype(np.int16)
    nibabel.save(file, tmp_path / "x.nii.gz")
    with pytest.raises(UserError, match=r"label values \[[^,]*\]"):
        read_label(tmp_path / "x.nii.gz", range(256))
