"""Whom a case belongs to: what a dataset knows, what a folder declares, and that 'not known' is not told as 'none'."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness import registry
from harness.data.check_dataset import check_dataset
from harness.data.datasets.contract import Case, Dataset
from harness.data.part_counts import PATIENTS_NOT_KNOWN, count_parts
from harness.data.splits import Split
from harness.data.trial_data import load_trial_data
from harness.errors import UserError
from harness.study.resolve import Resolver
from harness.trial.protocol import protocol_of

CASES = [f"p{patient}_{frame}" for patient in range(6) for frame in (1, 2)]
SPEC = {
    "dataset": "nnunet:Mine", "architecture": "unet", "method": "supervised", "shots": "all", "subset": 0, "seed": 0,
    "recipe.patch": [16, 16, 16], "recipe.spacing": [1, 1, 1],
}  # fmt: skip


def write_folder(root: Path, patients: Mapping[str, object] | None) -> Dataset:
    """Write a folder of nnU-Net with two cases of each patient, and return its dataset."""
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (root / "Mine" / part).mkdir(parents=True, exist_ok=True)
    for case in CASES:
        label = np.zeros((12, 12, 12), np.uint8)
        label[3:8, 3:8, 3:8] = 1
        image = (rng.normal(100, 10, label.shape) + 50 * label).astype(np.float32)
        nibabel.save(
            nibabel.Nifti1Image(image, np.eye(4)), root / "Mine" / "imagesTr" / f"{case}_0000.nii.gz"
        )
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), root / "Mine" / "labelsTr" / f"{case}.nii.gz")
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}}
    declared = {} if patients is None else {"patients": patients}
    (root / "Mine" / "dataset.json").write_text(json.dumps({**description, **declared}))
    return registry.load("dataset", "nnunet:Mine")()


BY_NAME = {case: case[:2] for case in CASES}


def test_a_folder_may_declare_whom_its_cases_belong_to(tmp_path: Path) -> None:
    dataset = write_folder(tmp_path, BY_NAME)
    cases = dataset.cases(tmp_path)
    assert {case.id: case.patient for case in cases} == BY_NAME and dataset.knows_patients(cases)
    plain = write_folder(tmp_path, None)
    cases = plain.cases(tmp_path)
    assert {case.id: case.patient for case in cases} == {case: case for case in CASES}
    assert not plain.knows_patients(cases) and plain.described() != dataset.described()


def test_each_case_may_be_declared_another_patients(tmp_path: Path) -> None:
    dataset = write_folder(tmp_path, {case: case for case in CASES})
    assert dataset.knows_patients(dataset.cases(tmp_path))


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        ({case: name for case, name in BY_NAME.items() if case != "p3_2"}, "no patient of case p3_2"),
        ({**BY_NAME, "p0_1": 7}, "an object of case: patient, both text"),
        (["p0_1"], "an object of case: patient, both text"),
        ({**BY_NAME, "p0_1": ""}, "an object of case: patient, both text"),
    ],
)
def test_patients_that_are_none(tmp_path: Path, patients: Mapping[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        write_folder(tmp_path, patients).cases(tmp_path)


@pytest.mark.parametrize(
    ("name", "known"),
    [("phantom", True), ("synapse", True), ("acdc", True), ("hippocampus", False), ("brats", False)],
)
def test_which_shipped_datasets_know(name: str, known: bool) -> None:
    assert registry.load("dataset", name)().knows_patients(()) is known


def test_a_class_whose_cases_name_patients_knows_them() -> None:
    class Own(Dataset):
        pass

    assert Own().knows_patients([Case("a_1", "a"), Case("a_2", "a")])
    assert not Own().knows_patients([Case("a", "a")])


def test_a_split_says_that_patients_are_not_known(tmp_path: Path) -> None:
    cases = [Case(id, id) for id in "abc"]
    split = Split(("a",), ("b",), ("c",), "by hand")
    assert PATIENTS_NOT_KNOWN not in count_parts([split], cases).text()
    assert count_parts([split], cases, False).text().endswith(f"1 test cases; {PATIENTS_NOT_KNOWN}")
    found = check_dataset(write_folder(tmp_path, None), tmp_path)
    assert found.parts and PATIENTS_NOT_KNOWN in found.parts.text()
    assert found.as_json()["parts"]["patients_known"] is False
    found = check_dataset(write_folder(tmp_path, BY_NAME), tmp_path)
    assert found.parts and PATIENTS_NOT_KNOWN not in found.parts.text() and "patients" in found.parts.text()


@pytest.fixture
def protocol(tmp_path: Path) -> Callable:
    """Return a function from declared patients to what a record says of those of its test cases."""

    def of(patients: Mapping[str, object] | None, **settings: object) -> object:
        write_folder(tmp_path, patients)
        spec = Resolver("test").trial({**SPEC, **settings})
        assert not isinstance(spec, str)
        data = load_trial_data(spec, tmp_path)
        method = registry.load("method", "supervised")
        return protocol_of(spec, data, method(method.Parameters()), None)

    return of


def test_a_record_says_whom_its_test_cases_belong_to_or_that_nobody_knows(protocol: Callable) -> None:
    told = protocol(BY_NAME)
    assert (
        told.patients == {case: BY_NAME[case] for case in sorted(told.test_cases)} and len(told.patients) > 1
    )
    assert protocol(None).patients == "not known"
    assert protocol({case: case for case in CASES}).patients == "one for each case"
