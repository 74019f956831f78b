"""Listings of cases: dataset.json and what lies beside it."""

from __future__ import annotations

import json
import shutil
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


def listed_as(folder: Path, image: str, key: str = "training") -> None:
    listing = folder / "dataset.json"
    data = json.loads(listing.read_text())
    data[key] = [*data.get(key, []), {"image": image, "label": data["training"][0]["label"]}]
    data["training"] = data["training"][1:]
    listing.write_text(json.dumps(data))


@pytest.mark.parametrize("key", ["training", "validation"])
@pytest.mark.parametrize("entry", ["../elsewhere/i.nii.gz", "imagesTr/../../elsewhere/i.nii.gz", "ABSOLUTE"])
def test_entries_that_lead_out_of_the_folder_are_refused(small_msd: Path, entry: str, key: str) -> None:
    folder = small_msd / "Task04_Hippocampus"
    (small_msd / "elsewhere").mkdir()
    path = small_msd / "elsewhere" / "hippocampus_001.nii.gz"
    shutil.copy(folder / "imagesTr" / "hippocampus_001.nii.gz", path)
    entry = str(path) if entry == "ABSOLUTE" else entry.replace("i.nii.gz", path.name)
    listed_as(folder, entry, key)
    with pytest.raises(UserError) as refusal:
        hippocampus(small_msd)
    assert repr(entry) in str(refusal.value) and "leads out of the folder" in refusal.value.found


@pytest.mark.parametrize(
    "entry", ["imagesTr/hippocampus_001.nii.gz", "x/../imagesTr/hippocampus_001.nii.gz", "ABSOLUTE"]
)
@pytest.mark.parametrize("linked", ["nothing", "the file", "the folder"])
def test_links_within_the_folder_are_followed(small_msd: Path, entry: str, linked: str) -> None:
    folder = small_msd / "Task04_Hippocampus"
    path = folder / "imagesTr" / "hippocampus_001.nii.gz"
    listed_as(folder, str(path) if entry == "ABSOLUTE" else entry)
    if linked != "nothing":
        moved = path if linked == "the file" else path.parent
        other = small_msd / "elsewhere" / moved.name
        other.parent.mkdir()
        moved.rename(other)
        moved.symlink_to(other)
    dataset, cases = hippocampus(small_msd)
    assert len(cases) == 8 and dataset.image(cases[0]).array.shape == (1, 20, 24, 20)
