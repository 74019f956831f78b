"""The size of a voxel, and what is within a tolerance, whatever a header rounds.

The oracle counts in whole tenths of a millimetre: no rounding can decide there.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from harness.data.datasets.contract import Case
from harness.data.nifti import read_image, read_label
from harness.data.preprocessing import prepare
from harness.data.volume import Volume, shortest_decimal
from harness.evaluation.metrics import score_case
from tests.unit.data.test_preprocessing import OneVolume, recipe

Tenths = tuple[int, int, int]


def exact_nsd(one: NDArray, other: NDArray, tenths: Tenths, tolerance: int) -> float:
    """Return the share of surface voxels within a tolerance; all lengths are whole tenths of a millimetre."""
    cross = ndimage.generate_binary_structure(3, 1)
    surfaces = [np.argwhere(mask & ~ndimage.binary_erosion(mask, cross)) for mask in (one > 0, other > 0)]
    apart = (((surfaces[0][:, None] - surfaces[1][None]) * tenths) ** 2).sum(axis=2)
    within = (apart.min(axis=0) <= tolerance**2).sum() + (apart.min(axis=1) <= tolerance**2).sum()
    return float(within / sum(map(len, surfaces)))


def boxes(shift: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a box, and one that is longer by ``shift`` voxels along each axis."""
    one, other = np.zeros((2, 20, 20, 20), np.uint8)
    one[4:10, 4:10, 4:10] = 1
    other[4 : 10 + shift, 4 : 10 + shift, 4 : 10 + shift] = 1
    return one, other


def nsd(one: NDArray, other: NDArray, volume: Volume, tolerance: int) -> float:
    (row,) = score_case(one, other, volume.spacing, {"a": (1,)}, [f"nsd@{tolerance / 10:g}"])
    return row["value"]


def rotated(degrees: float, axis: tuple[float, float, float], tenths: Tenths) -> NDArray[np.float64]:
    direction = np.array(axis) / np.linalg.norm(axis)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * direction).as_matrix() * np.array(tenths) / 10
    affine[:3, 3] = -123.4, 56.7, 890.1
    return affine


def save(path: Path, labels: NDArray, affine: NDArray, forms: str = "sq") -> Path:
    image = nibabel.Nifti1Image(labels, affine)
    image.set_sform(affine if "s" in forms else None, 1 if "s" in forms else 0)
    image.set_qform(affine, 1 if "q" in forms else 0)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("forms", ["s", "q", "sq"])
@pytest.mark.parametrize(
    ("tenths", "shift"), [((10, 10, 10), 1), ((4, 4, 4), 5), ((7, 7, 30), 1), ((3, 12, 6), 2)]
)
def test_the_angle_of_a_grid_decides_nothing(tmp_path: Path, tenths: Tenths, shift: int, forms: str) -> None:
    one, other = boxes(shift)
    tolerances = sorted({shift * side for side in tenths} | {10, 20})
    wanted = [exact_nsd(one, other, tenths, tolerance) for tolerance in tolerances]
    sizes = tuple(side / 10 for side in tenths)
    for axis in ((0, 0, 1), (1, 0, 0), (1, 2, 3)):
        for degrees in (0, 3, 6, 9, 12, 18, 37.7, 90, 143):
            volume = read_label(
                save(tmp_path / "x.nii.gz", other, rotated(degrees, axis, tenths), forms), range(2)
            )
            assert volume.spacing == sizes  # no 0.4000000059604645
            assert [nsd(one, other, volume, tolerance) for tolerance in tolerances] == wanted


@pytest.mark.parametrize("degrees", [6, 9, 12, 18])
def test_nor_where_the_affine_is_all_that_is_known(degrees: float) -> None:
    """Plug-ins make volumes of an array and an affine."""
    one, other = boxes()
    volume = Volume(other, rotated(degrees, (0, 0, 1), (10, 10, 10)).astype(np.float32).astype(np.float64))
    assert nsd(one, other, volume, 10) == exact_nsd(one, other, (10, 10, 10), 10) < 1.0


@pytest.mark.parametrize("degrees", [0, 12, 143])
def test_nor_of_what_a_trial_reads_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degrees: float
) -> None:
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "cache"))
    one, other = boxes(5)
    path = save(tmp_path / "x.nii.gz", other, rotated(degrees, (1, 2, 3), (4, 4, 4)))
    dataset = OneVolume(read_image(path), read_label(path, range(2)))
    cache = prepare(dataset, f"turned by {degrees}", [Case("c", "c")], recipe((0.8, 0.8, 0.8)))
    assert cache.label("c").shape == (10, 10, 10)
    native = cache.native_reference("c")
    back = cache.to_native("c", np.zeros((2, 10, 10, 10), np.float32))
    assert native.spacing == back.spacing == (0.4, 0.4, 0.4)
    assert nsd(one, native.array, native, 20) == exact_nsd(one, other, (4, 4, 4), 20) < 1.0


@pytest.mark.parametrize("degrees", [0, 6, 12, 18, 37.7])
def test_half_a_voxel_is_rounded_alike_at_every_angle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degrees: float
) -> None:
    """25 voxels of 0.1 mm are 2.5 of 1 mm: rounding of the header made 2 or 3 of them."""
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "cache"))
    labels = np.zeros((25, 25, 25), np.uint8)
    labels[5:20, 5:20, 5:20] = 1
    path = save(tmp_path / "x.nii.gz", labels, rotated(degrees, (0, 0, 1), (1, 1, 1)))
    dataset = OneVolume(read_image(path), read_label(path, range(2)))
    cache = prepare(dataset, f"half {degrees}", [Case("c", "c")], recipe((1, 1, 1)))
    assert cache.label("c").shape == (2, 2, 2)  # half to even


def test_a_header_that_contradicts_its_affine_has_no_say(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(boxes()[0], np.diag([1.5, 2, 3, 1]))
    for zooms in ((1, 1, 1), (1.50001, 2, 3), (2, 1.5, 3)):
        image.header["pixdim"][1:4] = zooms
        (tmp_path / "x.nii").write_bytes(image.to_bytes())
        raw = bytearray((tmp_path / "x.nii").read_bytes())
        raw[80:92] = np.array(zooms, "<f4").tobytes()
        (tmp_path / "x.nii").write_bytes(raw)
        assert read_label(tmp_path / "x.nii", range(2)).spacing == (1.5, 2, 3)


def test_what_is_farther_than_a_tolerance_by_more_than_rounding_is_not_within_it() -> None:
    one, other = boxes(1)
    for size, inside in ((1.0, True), (1.0000004, True), (1.00001, False), (1.001, False)):
        (row,) = score_case(one, other, (size,) * 3, {"a": (1,)}, ["nsd@1"])
        near = exact_nsd(one, other, (10, 10, 10), 10)
        assert (row["value"] == near) == inside and row["value"] <= near


@pytest.mark.parametrize(
    ("stored", "meant"),
    [(np.float32(0.4), 0.4), (np.float32(0.7578), 0.7578), (np.float32(1.5234375), 1.5234375), (1.0, 1.0),
     (0.1 + 0.2, 0.3), (0.7578125123, 0.7578125123)],
)  # fmt: skip
def test_a_number_in_single_precision_means_its_shortest_decimal(stored: float, meant: float) -> None:
    assert shortest_decimal(float(stored)) == meant


@pytest.mark.parametrize(
    ("shape", "single"),
    [((5, 5, 1), True), ((1, 5, 5), True), ((5, 1, 5), True), ((1, 5, 5, 5), False), ((2, 5, 5, 1), True), ((2, 2, 2), False)],
)  # fmt: skip
def test_a_single_slice_is_told_from_a_volume(shape: tuple[int, ...], single: bool) -> None:
    assert Volume(np.zeros(shape), np.eye(4)).is_single_slice == single
