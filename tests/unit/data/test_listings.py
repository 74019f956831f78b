"""Listings of cases: dataset.json and what lies beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import registry
from harness.data.datasets.contract import Case, Dataset
from harness.errors import UserError


def hippocampus(root: Path) -> tuple[Dataset, list[Case]]:
    dataset: Dataset = registry.load("dataset", "hippocampus")()
    return dataset, dataset.cases(root)


@pytest.mark.parametrize(
    "text",
    [b"{", b"\xff\xfe", b"[]", b"{}", b'{"training": ["a"]}', b'{"training": [{"image": 3, "label": 4}]}'],
)
def test_a_listing_that_is_none_is_named(small_msd: Path, text: bytes) -> None:
    (small_msd / "Task04_Hippocampus" / "dataset.json").write_bytes(text)
    with pytest.raises(UserError, match=r"dataset\.json: found a listing that cannot be read"):
        hippocampus(small_msd)


def test_a_listing_names_each_case_once(small_msd: Path) -> None:
    listing = small_msd / "Task04_Hippocampus" / "dataset.json"
    data = json.loads(listing.read_text())
    listing.write_text(json.dumps({"training": [*data["training"], data["training"][0]]}))
    with pytest.raises(UserError, match="'hippocampus_001' twice"):
        hippocampus(small_msd)


def test_entries_of_resource_forks_are_ignored(small_msd: Path) -> None:
    listing = small_msd / "Task04_Hippocampus" / "dataset.json"
    data = json.loads(listing.read_text())
    data["training"].append({"image": "./imagesTr/._x.nii.gz", "label": "./labelsTr/._x.nii.gz"})
    listing.write_text(json.dumps(data))
    assert len(hippocampus(small_msd)[1]) == 8


def test_the_real_hippocampus_reads(data_root: Path) -> None:
    dataset, cases = hippocampus(data_root)
    assert len(cases) == 200
    case = cases[0]
    assert dataset.image(case).array.shape[1:] == dataset.label(case).array.shape
