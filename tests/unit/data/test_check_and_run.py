"""A check of a folder and a run on it agree: what is an error, what is put right, and what is as it should be."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from harness import registry
from harness.data.case_statistics import statistics_rows
from harness.data.check_dataset import check_dataset
from harness.data.check_report import CheckReport
from harness.data.datasets.contract import Dataset
from harness.data.layout_twins import write_twin
from harness.data.preprocessing import prepare
from harness.data.splits import generate_split
from harness.data.trial_data import load_trial_data
from harness.errors import UserError
from harness.spec import TrialSpec
from harness.study.resolve import Resolver

pytestmark = pytest.mark.usefixtures("fresh_cache")
SHAPE, CASES, AFFINE = (20, 18, 14), 6, np.diag([0.8, 0.8, 2.5, 1])


def spec(**settings: object) -> TrialSpec:
    flat = {
        "dataset": "nnunet:D",
        "architecture": "unet",
        "method": "supervised",
        "shots": "all",
        "subset": 0,
        "seed": 0,
    }
    small = {"recipe.steps": 2, "recipe.patch": [16, 16, 16], "recipe.spacing": [0.8, 0.8, 2.5]}
    found = Resolver("test").trial({**flat, **small, **settings})
    assert isinstance(found, TrialSpec), found
    return found


def labels_of(number: int) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[3 + number : 9 + number, 3:9, 3:10] = 1
    label[12:18, 10:15, 3:9] = 2
    return label


def image_of(number: int) -> np.ndarray:
    return (np.random.default_rng(number).normal(100, 10, SHAPE) + 60 * labels_of(number)).astype(np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(CASES):
        save(tmp_path, number, image=image_of(number), label=labels_of(number))
    description = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "a": 1, "b": 2},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "D" / "dataset.json").write_text(json.dumps(description))
    return tmp_path


def image(root: Path, number: int = 1) -> Path:
    return root / "D" / "imagesTr" / f"c{number}_0000.nii.gz"


def label(root: Path, number: int = 1) -> Path:
    return root / "D" / "labelsTr" / f"c{number}.nii.gz"


def save(root: Path, number: int = 1, affine: np.ndarray = AFFINE, **arrays: np.ndarray) -> None:
    for what, array in arrays.items():
        path = {"image": image, "label": label}[what](root, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, affine), path)


def stored(number: int, turn: list[list[int]]) -> dict[str, Any]:
    """Return labels with axes flipped or in another order, and the affine by which they lie where they lay."""
    turned = nibabel.apply_orientation(labels_of(number), np.array(turn))
    return {"label": turned, "affine": AFFINE @ nibabel.orientations.inv_ornt_aff(np.array(turn), SHAPE)}


def scaled(root: Path, dtype: type, slope: float | None = None, array: np.ndarray | None = None) -> None:
    """Write labels as whole numbers with a scale: nibabel's own, or ``slope``."""
    path, values = label(root), labels_of(1).astype(float) if array is None else array
    file = nibabel.Nifti1Image(values, AFFINE)
    file.header.set_data_dtype(dtype)
    if slope is None:
        nibabel.save(file, path)
    else:
        file = nibabel.Nifti1Image(np.round(values / slope).astype(dtype), AFFINE)
        file.header.set_slope_inter(slope, 0)
        nibabel.save(file, path)


def dataset() -> Dataset:
    return registry.load("dataset", "nnunet:D")()


def check(root: Path) -> CheckReport:
    return check_dataset(dataset(), root)


def codes(found: CheckReport, level: str) -> set[tuple[str, str]]:
    return {(one.code, one.case) for one in found.findings if one.level == level}


def one_slice(root: Path) -> None:
    save(root, image=image_of(1)[..., :1], label=labels_of(1)[..., 4:5])


def blurred() -> np.ndarray:
    array = labels_of(1).astype(float)
    array[5, 5, 5] = 1.4
    return array


def other_affine(**changes: float) -> np.ndarray:
    affine = AFFINE.copy()
    for key, value in changes.items():
        affine["xyz".index(key[0]), "xyzt".index(key[1])] += value
    return affine


ERRORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "one slice": ("not_a_volume", one_slice),
    "a slice of the first axis": ("not_a_volume", lambda r: save(r, image=image_of(1)[:1], label=labels_of(1)[4:5])),
    "voxels one per cent larger": ("affine_mismatch", lambda r: save(r, label=labels_of(1), affine=other_affine(xx=0.008))),
    "a voxel along one axis": ("affine_mismatch", lambda r: save(r, label=labels_of(1), affine=other_affine(zt=2.5))),
    "a tilt": ("affine_mismatch", lambda r: save(r, label=labels_of(1), affine=other_affine(xy=0.01))),
    "mirrored in space": ("affine_mismatch", lambda r: save(r, label=labels_of(1), affine=AFFINE @ np.diag([-1, 1, 1, 1]))),
    "flipped, and moved": ("affine_mismatch", lambda r: save(
        r, label=labels_of(1)[::-1], affine=other_affine(xx=-1.6, xt=15.2 + 0.8))),
    "another shape": ("shape_mismatch", lambda r: save(r, label=labels_of(1)[:-1])),
    "axes in another order": ("shape_mismatch", lambda r: save(r, label=labels_of(1).transpose(1, 0, 2))),
    "interpolated, with a scale": ("label_not_integer", lambda r: scaled(r, np.int16, array=blurred())),
    "a scale of half a label": ("label_not_integer", lambda r: scaled(r, np.uint8, slope=0.7)),
}  # fmt: skip


@pytest.mark.parametrize("damage", ERRORS)
def test_what_a_check_calls_an_error_ends_a_run(root: Path, damage: str) -> None:
    code, harm = ERRORS[damage]
    harm(root)
    found = check(root)
    assert codes(found, "error") == {(code, "c1")}
    with pytest.raises(UserError) as refusal:
        load_trial_data(spec(), root)
    said = refusal.value
    (finding, *_) = [one for one in found.findings if one.level == "error"]
    assert "c1" in Path(said.where).name
    if code.endswith("mismatch") or code == "not_a_volume":  # in the same words
        assert said.remedy == finding.remedy
        assert said.found.split(" in ")[0] in finding.message


FIXED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a writer's rounding": ("affine_noise", lambda r: save(r, label=labels_of(1), affine=other_affine(xt=1e-3))),
    "rounding of voxel sizes": ("affine_noise", lambda r: save(r, label=labels_of(1), affine=other_affine(yy=1e-4))),
    "an axis flipped": ("axes_turned", lambda r: save(r, **stored(1, [[0, -1], [1, 1], [2, 1]]))),
    "three axes flipped": ("axes_turned", lambda r: save(r, **stored(1, [[0, -1], [1, -1], [2, -1]]))),
    "slices first": ("axes_turned", lambda r: save(r, **stored(1, [[1, 1], [2, 1], [0, 1]]))),
    "permuted and flipped": ("axes_turned", lambda r: save(r, **stored(1, [[2, -1], [0, 1], [1, -1]]))),
    "floats in an int16 file": ("label_scaled", lambda r: scaled(r, np.int16)),
    "floats in a uint8 file": ("label_scaled", lambda r: scaled(r, np.uint8, slope=0.0079)),
    "floats in an int32 file": ("label_scaled", lambda r: scaled(r, np.int32, slope=1e-4 / 3)),
}  # fmt: skip


@pytest.mark.parametrize("change", FIXED)
def test_what_is_put_right_gives_the_run_the_labels_that_were_meant(root: Path, change: str) -> None:
    code, make = FIXED[change]
    before = load_trial_data(spec(), root)
    make(root)
    found = check(root)
    assert codes(found, "error") == codes(found, "warning") == set()
    assert codes(found, "fixed") == {(code, "c1")}
    after = load_trial_data(spec(), root)
    assert after.content != before.content  # the files are others
    cache = prepare(dataset_of(root), "nnunet:D", dataset_of(root).cases(root), spec().recipe)
    np.testing.assert_array_equal(cache.native_reference("c1").array, labels_of(1))
    np.testing.assert_array_equal(cache.label("c1"), labels_of(1))
    np.testing.assert_allclose(cache.native_reference("c1").affine, AFFINE, atol=1e-6)


def dataset_of(root: Path) -> Dataset:
    found = dataset()
    found.cases(root)
    return found


def test_whole_numbers_by_a_scale_of_two_are_left_alone(root: Path) -> None:
    scaled(root, np.uint8, slope=2.0, array=2.0 * (labels_of(1) > 0))
    found = check(root)
    assert codes(found, "error") == codes(found, "fixed") == set()
    np.testing.assert_array_equal(
        dataset_of(root).label(dataset_of(root).cases(root)[1]).array, 2 * (labels_of(1) > 0)
    )


# Healthy cases


@pytest.mark.parametrize("healthy", [(1,), (0, 3), (0, 1, 2, 3, 4)])
def test_cases_without_a_lesion_are_one_warning_and_no_duplicates(
    root: Path, healthy: tuple[int, ...]
) -> None:
    for number in healthy:
        save(root, number, label=np.zeros(SHAPE, np.uint8))
    found = check(root)
    assert codes(found, "error") == set()
    (warning,) = [one for one in found.findings if one.code == "empty_foreground"]
    assert f"{len(healthy)} of {CASES} cases" in warning.message and warning.level == "warning"
    assert {one.code for one in found.findings} <= {"empty_foreground"}
    load_trial_data(spec(), root)


def test_a_label_that_no_case_has_is_still_an_error(root: Path) -> None:
    for number in range(CASES):
        save(root, number, label=np.zeros(SHAPE, np.uint8))
    assert {code for code, _ in codes(check(root), "error")} == {"label_in_no_case"}


# Duplicates


@pytest.mark.parametrize(("what", "code"), [(image, "duplicate_image"), (label, "duplicate_label")])
@pytest.mark.parametrize(
    "parts", [("train", "test"), ("validation", "test"), ("train", "validation"), ("train", "train")]
)
def test_a_case_twice_is_an_error_where_a_part_of_the_split_leaks(
    root: Path, parts: tuple[str, str], what: Callable[[Path, int], Path], code: str
) -> None:
    split = generate_split(dataset().cases(root), dataset().fractions, "nnunet:D", 0)
    one, other = (split.parts[part][-1 if part != "train" else index] for index, part in enumerate(parts))
    shutil.copy(what(root, int(one[1:])), what(root, int(other[1:])))
    findings = [finding for finding in check(root).findings if finding.code == code]
    (finding,) = findings
    assert finding.level == ("warning" if parts[0] == parts[1] else "error")
    assert all(part in finding.message for part in parts)


def test_a_third_copy_is_compared_with_the_one_that_leaks(root: Path) -> None:
    split = generate_split(dataset().cases(root), dataset().fractions, "nnunet:D", 0)
    *train, test = (*split.train[:2], split.test[0])
    for other in (*train[1:], test):
        shutil.copy(image(root, int(train[0][1:])), image(root, int(other[1:])))
    levels = sorted(one.level for one in check(root).findings if one.code == "duplicate_image")
    assert levels == (["error", "warning"] if test > train[0] else ["error", "error"])


@pytest.mark.parametrize(
    ("pair", "level"),
    [(("patient001", "patient004"), "warning"), (("patient001", "patient002"), "error")],
)  # as patients 074 and 076 of the challenge; patient002 is for testing
def test_acdc_by_its_published_split(tmp_path: Path, pair: tuple[str, str], level: str) -> None:
    twin = write_twin("acdc", tmp_path, cases=2)
    acdc = registry.load("dataset", "acdc")()
    one, other = ([case.image for case in acdc.cases(twin) if case.patient == patient] for patient in pair)
    shutil.copy(one[0], other[0])
    found = [finding for finding in check_dataset(acdc, twin).findings if finding.code == "duplicate_image"]
    assert [finding.level for finding in found] == [level]


# Messages


@pytest.mark.parametrize("numbers", [(4, 4, 4), (2, 4, 4), (2, 2, 4)])
def test_the_challenges_numbering_of_tumours_is_told_of_all_cases(
    tmp_path: Path, numbers: tuple[int, ...], medctx: Callable
) -> None:
    root = write_twin("brats", tmp_path, cases=1)
    for number, path in zip(numbers, sorted(root.rglob("labelsTr/*.nii.gz")), strict=True):
        file = nibabel.load(path)
        array = np.array([0, 2, 1, number], np.uint8)[np.asarray(file.dataobj).astype(int)]
        nibabel.save(nibabel.Nifti1Image(array, file.affine), path)
    outcome = medctx("data", "check", "brats", "--data", root, "--json")
    found = json.loads(outcome.out)["findings"]
    mapping = "Map its 2 to 1, 1 to 2 and 4 to 3, also in files without a 4"
    assert outcome.code == 1
    assert all(mapping in one["remedy"] for one in found if one["code"] != "absent_label")
    (all_cases,) = [one for one in found if one["code"] == "other_numbering"]
    assert all_cases["case"] == "" and f"{numbers.count(4)} of 3 cases" in all_cases["message"]


@pytest.mark.parametrize("suffix", [".mgz", ".nhdr", ".npz"])
def test_a_folder_of_another_format_says_to_convert(tmp_path: Path, suffix: str, medctx: Callable) -> None:
    for part, name in (("imagesTr", f"c1_0000{suffix}"), ("labelsTr", f"c1{suffix}")):
        (tmp_path / "N" / part).mkdir(parents=True)
        (tmp_path / "N" / part / name).touch()
    description: dict[str, Any] = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}}
    for said in ({}, {"file_ending": suffix}):
        (tmp_path / "N" / "dataset.json").write_text(json.dumps({**description, **said}))
        outcome = medctx("data", "check", "nnunet:N", "--data", tmp_path)
        assert outcome.code == 1 and "convert it to NIfTI (c3d" in outcome.out and suffix in outcome.out


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_a_folder_of_simpleitks_formats_is_the_same_dataset(
    root: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    itk = pytest.importorskip("SimpleITK")
    cases = dataset_of(root).cases(root)
    expected = [(dataset_of(root).image(case), dataset_of(root).label(case)) for case in cases]
    for path in (root / "D").rglob("*.nii.gz"):
        itk.WriteImage(itk.ReadImage(str(path)), str(path).replace(".nii.gz", suffix))
        path.unlink()
    description = json.loads((root / "D" / "dataset.json").read_text())
    (root / "D" / "dataset.json").write_text(json.dumps({**description, "file_ending": suffix}))
    found = check(root)
    assert found.findings == [] and found.cases == CASES
    for case, (own_image, own_label) in zip(dataset_of(root).cases(root), expected, strict=True):
        read_image, read_label = dataset_of(root).image(case), dataset_of(root).label(case)
        np.testing.assert_array_equal(read_image.array, own_image.array)
        np.testing.assert_array_equal(read_label.array, own_label.array)
        np.testing.assert_allclose(read_image.affine, own_image.affine, atol=1e-6)
    before = load_trial_data(spec(), root)
    voxels = sorted((root / "D").rglob("c1.raw" if suffix == ".mhd" else f"c1{suffix}"))[0]
    voxels.touch()
    assert load_trial_data(spec(), root).content == before.content
    content = bytearray(voxels.read_bytes())
    content[-1] ^= 1  # of the voxels
    voxels.write_bytes(content)
    if suffix != ".nrrd":  # which is packed, so that this breaks it
        assert load_trial_data(spec(), root).content != before.content
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert "pip install SimpleITK" in check(root).findings[0].remedy


def test_regions_are_named_in_the_table(root: Path, medctx: Callable) -> None:
    description = json.loads((root / "D" / "dataset.json").read_text())
    description["labels"] = {"background": 0, "whole": [1, 2], "core": 2}
    (root / "D" / "dataset.json").write_text(json.dumps(description))
    found = dataset_of(root)
    rows = {row[0]: row[1:] for row in statistics_rows(check_dataset(found, root).facts, found)}
    millilitres = [(labels_of(number) > 0).sum() * 0.8 * 0.8 * 2.5 / 1000 for number in range(CASES)]
    assert list(rows)[3:] == ["1 of whole, ml", "2 core, ml", "whole (1, 2), ml"]
    assert rows["whole (1, 2), ml"] == (
        str(CASES),
        *(f"{f(millilitres):.4g}" for f in (np.min, np.median, np.max)),
    )
    assert "whole (1, 2), ml" in medctx("data", "check", "nnunet:D", "--data", root).out


@pytest.mark.parametrize("name", ["nnunet:D3ch", "msd:some/D3ch"])
def test_a_folder_that_is_not_there_is_called_as_it_was_written(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for root in (None, tmp_path / "other"):
        with pytest.raises(UserError) as refusal:
            registry.load("dataset", name)().cases(root)
        said = str(refusal.value)
        assert repr(name) in said and str(tmp_path) in said and "etch" not in said and "MEDCTX_DATA" in said
        assert ("neither --data nor MEDCTX_DATA is set" in said) == (root is None)
    for known in ("hippocampus", "acdc"):
        with pytest.raises(UserError, match="neither --data nor MEDCTX_DATA is set"):
            registry.load("dataset", known)().cases(None)
