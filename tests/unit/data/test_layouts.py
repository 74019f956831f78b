"""Every dataset from disk: layout twins, splits, one short trial on each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from trials_of_datasets import load, spec_of

from harness.data import layout_twins
from harness.data.check_dataset import check_dataset
from harness.data.datasets.contract import Case
from harness.data.layout_twins import write_twin
from harness.data.trial_data import load_trial_data
from harness.errors import UserError
from harness.reporting.slices.galleries import _label_names
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

LAYOUTS = [(name, layout) for name in layout_twins._APPEARANCES for layout in layout_twins._WRITERS[name]]


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_every_layout_gives_the_same_cases(tmp_path: Path, name: str, layout: str) -> None:
    dataset = load(name)
    cases = dataset.cases(write_twin(name, tmp_path / "twin", layout, cases=1))
    chosen = json.loads((tmp_path / "twin" / "TWIN.json").read_text())["cases"]
    assert [case.id for case in cases] == sorted(chosen)
    assert check_dataset(dataset, tmp_path / "twin").findings == []
    image, label = dataset.image(cases[0]), dataset.label(cases[0])
    assert image.array.shape == (len(dataset.channels), *label.array.shape)
    assert set(np.unique(label.array).tolist()) == set(dataset.labels)
    first = write_twin(name, tmp_path / "first", cases=1)
    np.testing.assert_array_equal(image.array, dataset.image(dataset.cases(first)[0]).array)


@pytest.mark.parametrize("name", ["synapse", "acdc", "brats", "hippocampus"])
def test_a_twin_is_checked_preprocessed_trained_on_and_scored_on_the_files_grid(
    tmp_path: Path, name: str
) -> None:
    root = write_twin(name, tmp_path / "twin", cases=2)
    checked = check_dataset(load(name), root)
    assert checked.findings == [] and checked.cases == len(load(name).cases(root))
    record = run_trial(spec_of(name), RunSettings(tmp_path / "results", root))
    assert record is not None and record.status == "complete", record and record.cause
    assert (record.protocol is not None and "twin" in record.protocol.split_rule) or name == "hippocampus"
    folder = tmp_path / "results" / "trials" / record.id
    import pandas as pd

    rows = pd.read_parquet(folder / "cases.parquet")
    dataset = load(name)
    assert list(dict.fromkeys(rows["region"])) == list(dataset.scored_regions())
    assert set(rows["case"]) == set(record.protocol.test_cases)
    for case in dataset.cases(root):
        path = folder / "predictions" / f"{case.id}.student.nii.gz"
        if case.id in record.protocol.test_cases:
            prediction, source = nibabel.load(path), nibabel.load(case.label)
            assert prediction.shape == source.shape
            np.testing.assert_allclose(prediction.affine, source.affine, atol=1e-5)


@pytest.mark.parametrize("name", ["synapse", "acdc", "brats"])
def test_every_pipeline_of_a_dataset_preprocesses(tmp_path: Path, name: str) -> None:
    root, dataset = write_twin(name, tmp_path / "twin", cases=1), load(name)
    for pipeline in dataset.pipelines:
        data = load_trial_data(spec_of(name, **{"recipe.pipeline": pipeline, "shots": 1}), root)
        image = data.image(data.training[0])
        assert image.shape[0] == len(dataset.channels) and np.isfinite(image).all() and image.std() > 0
        case = data.split.validation[0]
        one_hot = np.stack([(data.selection_label(case) == value) for value in dataset.labels]).astype(
            np.float32
        )
        data.freeze()
        back, test = data.to_native(case, one_hot).array, data._cache.native_reference(case).array
        assert 2 * ((back > 0) & (test > 0)).sum() / ((back > 0).sum() + (test > 0).sum()) > 0.85


def test_the_twin_of_acdc_looks_like_the_challenges_data(tmp_path: Path) -> None:
    root = write_twin("acdc", tmp_path, cases=1)
    patient = root / "training" / "patient001"
    assert sorted(path.name for path in patient.iterdir()) == [
        "Info.cfg", "patient001_4d.nii.gz", "patient001_frame01.nii.gz", "patient001_frame01_gt.nii.gz",
        "patient001_frame12.nii.gz", "patient001_frame12_gt.nii.gz",
    ]  # fmt: skip
    assert "ED: 1\nES: 12\n" in (patient / "Info.cfg").read_text()
    assert nibabel.load(patient / "patient001_4d.nii.gz").shape[3] == 12
    spacing = nibabel.load(patient / "patient001_frame01.nii.gz").header.get_zooms()
    assert spacing[2] / spacing[0] > 5


def test_the_twin_of_brats_has_four_channels_in_one_file(tmp_path: Path) -> None:
    root = write_twin("brats", tmp_path, cases=1)
    path = next((root / "Task01_BrainTumour" / "imagesTr").iterdir())
    assert nibabel.load(path).shape[3] == 4


@pytest.mark.parametrize(
    ("name", "layout"), [("hippocampus", "msd:Task04_Hippocampus"), ("acdc", "nnunet:Dataset027_ACDC")]
)
def test_any_folder_is_a_dataset(tmp_path: Path, name: str, layout: str) -> None:
    family = layout.partition(":")[0]
    root = write_twin(name, tmp_path, family, cases=2)
    dataset, known = load(layout), load(name)
    cases = dataset.cases(root)
    assert [case.id for case in cases] == [case.id for case in known.cases(root)]
    assert dict(dataset.labels) == dict(known.labels) and dataset.channels == known.channels
    assert len(dataset.scored_regions()) == len(known.labels) - 1
    assert load_trial_data(spec_of(layout, **{"recipe.spacing": [1, 1, 1]}), root).split.rule.startswith(
        "generated by patient"
    )
    with pytest.raises(UserError, match="nowhere"):
        load(f"{family}:nowhere").cases(root)
    with pytest.raises(UserError, match=f"{family}:FOLDER"):
        load(family).cases(root)
    with pytest.raises(UserError, match="an absolute path"):
        load(f"{family}:{root / 'x'}")


def test_any_folder_may_lie_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_twin("hippocampus", tmp_path / "here", cases=1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root").mkdir()
    for root in (None, tmp_path / "root"):
        assert len(load("msd:here/Task04_Hippocampus").cases(root)) == 3


def test_what_the_description_says_is_part_of_the_content(tmp_path: Path) -> None:
    write_twin("brats", tmp_path, "nnunet", cases=1)
    before, after = load("nnunet:Dataset001_BrainTumour"), load("nnunet:Dataset001_BrainTumour")
    case = before.cases(tmp_path)[0]
    path = tmp_path / "Dataset001_BrainTumour" / "dataset.json"
    path.write_text(path.read_text().replace('"edema"', '"oedema"'))
    after.cases(tmp_path)
    assert before.content(case) != after.content(case)


def test_public_test_cases_of_raw_data_count_once(tmp_path: Path) -> None:
    root = write_twin("acdc", tmp_path, "nnformer", cases=1)
    dataset = load("acdc")
    whole = dataset.cases(root)
    folder = whole[0].image.parents[1]
    copies = sorted(path.name for path in (folder / "labelsTs").iterdir())
    assert copies == ["patient002_frame01_gt.nii.gz", "patient002_frame12_gt.nii.gz"]
    assert len(whole) == 6 and {case.image.parent.name for case in whole} == {"imagesTr"}
    for part, name in (("images", "patient002_frame01.nii.gz"), ("labels", copies[0])):
        (folder / f"{part}Tr" / name).unlink()  # the only ones now are the copies
    shutil.copy(whole[0].image, folder / "imagesTs" / "patient101_frame01.nii.gz")  # without a label
    assert [case.id for case in dataset.cases(root)] == [case.id for case in whole]


def cropped(folder: Path, cases: list[Case]) -> None:
    """Write what nnU-Net and its descendants leave beside the data that they read: arrays, and labels as they were."""
    (folder / "gt_segmentations").mkdir(parents=True)
    for case in cases:
        shutil.copy(case.label, folder / "gt_segmentations" / f"{case.id}.nii.gz")
        np.savez(folder / f"{case.id}.npz", data=np.zeros((2, 4, 4, 4), np.float32))
        (folder / f"{case.id}.pkl").write_bytes(b"")
    (folder / "dataset.json").write_text("{}")


@pytest.mark.parametrize(
    ("name", "layout", "raw", "others"),
    [
        ("synapse", "nnformer", "nnFormer_raw_data/Task02_Synapse",
         ("nnFormer_cropped_data/Task002_Synapse", "nnFormer_preprocessed/Task002_Synapse")),
        ("acdc", "nnunet", "nnUNet_raw/Dataset027_ACDC", ("nnUNet_preprocessed/Dataset027_ACDC",)),
    ],
)  # fmt: skip
def test_cropped_and_preprocessed_folders_are_told_from_the_data(
    tmp_path: Path, name: str, layout: str, raw: str, others: tuple[str, ...]
) -> None:
    written = write_twin(name, tmp_path / "written", layout, cases=1)
    root, dataset = tmp_path / "root", load(name)
    cases = dataset.cases(written)
    shutil.copytree(cases[0].image.parents[1], root / raw)
    for other in others:
        cropped(root / other, cases)
    assert [case.id for case in dataset.cases(root)] == [case.id for case in cases]
    assert root / raw in dataset.cases(root)[0].image.parents
    shutil.rmtree((root / raw).parent)
    with pytest.raises(UserError, match=rf"{others[0]}: found no imagesTr.*arrays without a header"):
        dataset.cases(root)


def test_lists_of_monai_may_have_the_names_that_papers_gave_them(tmp_path: Path) -> None:
    root = write_twin("synapse", tmp_path, "monai", cases=1)
    ids = [case.id for case in load("synapse").cases(root)]
    (root / "dataset_18_12.json").rename(root / "dataset_0.json")
    assert [case.id for case in load("synapse").cases(root)] == ids


@pytest.mark.parametrize(("name", "layout"), [("synapse", "btcv"), ("brats", "msd"), ("hippocampus", "msd")])
def test_images_of_a_challenges_test_part_are_no_cases(tmp_path: Path, name: str, layout: str) -> None:
    root = write_twin(name, tmp_path, layout, cases=1)
    unlabelled = layout_twins._APPEARANCES[name].unlabelled
    assert unlabelled and all(list(root.rglob(f"{case}.nii.gz")) for case in unlabelled)
    assert not set(unlabelled) & {case.id for case in load(name).cases(root)}


def test_regions_of_nnunet_are_lists_of_labels(tmp_path: Path) -> None:
    root = write_twin("brats", tmp_path, "nnunet", cases=1)
    path = root / "Dataset001_BrainTumour" / "dataset.json"
    description = json.loads(path.read_text())
    description["labels"] = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    path.write_text(json.dumps(description))
    dataset = load("nnunet:Dataset001_BrainTumour")
    assert len(dataset.cases(root)[0].channels) == 3
    assert dataset.scored_regions() == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    path.write_text("{}")
    with pytest.raises(UserError, match=r"dataset\.json"):
        dataset.cases(root)


def test_a_dataset_that_is_nowhere_names_the_layouts(tmp_path: Path) -> None:
    (tmp_path / "something").mkdir()
    with pytest.raises(UserError) as refusal:
        load("synapse").cases(tmp_path)
    for part in ("RawData/Training", "Task0?_Synapse", "dataset_18_12.json", "something", "synapse.org"):
        assert part in str(refusal.value)


def test_an_image_with_another_cases_label_is_refused(tmp_path: Path) -> None:
    root = write_twin("hippocampus", tmp_path, cases=2)
    path = root / "Task04_Hippocampus" / "dataset.json"
    listing = json.loads(path.read_text())
    one, other = listing["training"][:2]
    one["label"], other["label"] = other["label"], one["label"]
    path.write_text(json.dumps(listing))
    with pytest.raises(UserError, match="with the label"):
        load("hippocampus").cases(root)


def test_the_challenges_numbering_of_tumours_is_refused_with_the_mapping(tmp_path: Path) -> None:
    root, dataset = write_twin("brats", tmp_path, cases=1), load("brats")
    case = dataset.cases(root)[0]
    image = nibabel.load(case.label)
    labels = np.asarray(image.dataobj)
    nibabel.save(
        nibabel.Nifti1Image(np.where(labels == 3, 4, labels).astype(np.uint8), image.affine), case.label
    )
    with pytest.raises(UserError, match="Map its 2 to 1, 1 to 2 and 4 to 3, also in files without"):
        dataset.label(case)


# Splits


def test_a_report_on_any_folder_does_without_names_of_labels() -> None:
    assert _label_names("msd:Task09_Spleen", None) == ({}, {})
    assert _label_names("brats", None)[0][1] == "edema"


def test_regions_of_several_labels_are_told_beside_the_labels(tmp_path: Path) -> None:
    assert _label_names("brats", None)[1] == {"ET": (3,), "TC": (2, 3), "WT": (1, 2, 3)}
    assert _label_names("acdc", None)[1] == {}  # each is one label
