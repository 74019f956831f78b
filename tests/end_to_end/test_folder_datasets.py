"""Every command on a dataset that is any folder: of nnU-Net, and of the Decathlon."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

STUDY = """
question: Does every command work on a folder?
base: {dataset: '%s', architecture: unet, shots: all, recipe: {steps: 2, patch: [16, 16, 16], spacing: [1, 1, 1]}}
grid: {method: [supervised], seed: [0, 1]}
"""


def write_case(folder: Path, number: int, suffix: str) -> None:
    rng = np.random.default_rng(number)
    label = np.zeros((24, 22, 20), np.uint8)
    label[6 + number : 12 + number, 6:14, 6:14] = 1
    label[6 + number : 12 + number, 14:18, 6:14] = 2
    image = (rng.normal(100, 10, label.shape) + 60 * label).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / f"c{number}{suffix}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), folder / "labelsTr" / f"c{number}.nii.gz")


def write_folder(root: Path, family: str) -> str:
    """Write a dataset of eight cases below ``root``; return its name in a study."""
    folder = root / "Mine"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(8):
        write_case(folder, number, "_0000" if family == "nnunet" else "")
    names = {"background": 0, "head": 1, "tail": 2}
    description: dict[str, object] = {"channel_names": {"0": "MR"}, "labels": names, "file_ending": ".nii.gz"}
    if family == "msd":
        entries = [{"image": f"./imagesTr/c{n}.nii.gz", "label": f"./labelsTr/c{n}.nii.gz"} for n in range(8)]
        description = {"modality": {"0": "MR"}, "labels": {str(v): n for n, v in names.items()}}
        description |= {"training": entries}
    (folder / "dataset.json").write_text(json.dumps(description))
    return f"{family}:Mine"


@pytest.mark.whole_machine
@pytest.mark.parametrize("family", ["nnunet", pytest.param("msd", marks=pytest.mark.slow)])
def test_every_command_works_on_a_folder(family: str, tmp_path: Path, medctx: Callable) -> None:
    dataset = write_folder(tmp_path / "data", family)
    study, data = tmp_path / "mine.yaml", ("--data", tmp_path / "data")
    study.write_text(STUDY % dataset)
    here, anew = ("--results", tmp_path / "here"), ("--results", tmp_path / "anew")

    def done(*arguments: object) -> str:
        outcome = medctx(*arguments)
        assert outcome.code == 0, outcome.out + outcome.err
        return outcome.out

    assert "8 cases; findings: 0 error" in done("data", "check", dataset, *data)
    assert "2 trials" in done("plan", study, *here)
    assert done("run", study, *data, *here, "--workers", 2).count("complete  ") == 2
    assert "2 complete" in done("status", study, *here)
    assert "report.html" in done("report", study, *data, *here)
    done("rescore", study, *data, *here, "--workers", 1)
    conventions = pd.read_csv(tmp_path / "here" / "mine" / "tables" / "conventions.csv")
    assert {"harness", "voxels", "released"} <= set(conventions["variant"])
    assert "published" in done("publish", study, *data, *here)
    done("run", study, *data, *anew, "--only", "seed=0", "--workers", 1)
    said = done("compare", study, *anew, "--with", tmp_path / "here")
    assert "1 of 2 trials in both folders, 1 the same in every bit" in said
    (trial, *_) = (tmp_path / "here" / "trials").iterdir()
    references = tmp_path / "references"
    references.mkdir()
    for path in (trial / "predictions").iterdir():
        name = path.name.replace(".student", "")
        (references / name).symlink_to(tmp_path / "data" / "Mine" / "labelsTr" / name)
    done(
        "evaluate", "--predictions", trial / "predictions", "--prediction-names", "{case}.student",
        "--references", references, "--output", tmp_path / "scores.csv", "--labels", "1=head,2=tail", "--workers", 1,
    )  # fmt: skip
    scores, recorded = pd.read_csv(tmp_path / "scores.csv"), pd.read_parquet(trial / "cases.parquet")
    both = scores.merge(recorded, on=["case", "region", "metric"])
    assert len(both) == len(scores) > 0
    assert both["value_x"].tolist() == pytest.approx(both["value_y"].tolist(), abs=1e-12, nan_ok=True)


HEART = {"background": 0, "LV": 205, "Myo": 500, "AO": 820, "ignore": 7}


def write_heart(root: Path, *, ignored: bool, regions: bool) -> None:
    """Write eight cases with labels as MM-WHS numbers them, and where asked a third of each that nobody has labelled."""
    folder = root / "Heart"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(8):
        rng, label = np.random.default_rng(number), np.zeros((24, 22, 20), np.int16)
        for value, low in ((205, 2), (500, 8), (820, 14)):
            label[4 + number : 12 + number, low : low + 6, 4:12] = value
        image = rng.normal(100, 10, label.shape) + label / 5
        if ignored:
            label[:, :, 9:] = 7
        nibabel.save(
            nibabel.Nifti1Image(image.astype(np.float32), np.eye(4)),
            folder / "imagesTr" / f"c{number}_0000.nii.gz",
        )
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), folder / "labelsTr" / f"c{number}.nii.gz")
    labels: dict[str, object] = {name: value for name, value in HEART.items() if ignored or name != "ignore"}
    if regions:
        labels["heart"] = [205, 500, 820]
    (folder / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"})
    )


@pytest.mark.parametrize(
    ("ignored", "regions"), [pytest.param(False, False, marks=pytest.mark.slow), (True, True)]
)
def test_labels_above_255_and_an_ignored_label_are_scored_as_the_files_have_them(
    ignored: bool, regions: bool, tmp_path: Path, medctx: Callable
) -> None:
    """Every recorded Dice is that of the files, over the voxels that somebody has labelled; so is that of validation."""
    write_heart(tmp_path / "data", ignored=ignored, regions=regions)
    study, data, here = (
        tmp_path / "heart.yaml",
        ("--data", tmp_path / "data"),
        ("--results", tmp_path / "here"),
    )
    study.write_text(
        "question: Are they scored as they are numbered?\n"
        "base: {dataset: 'nnunet:Heart', architecture: unet, shots: all, recipe: {steps: 12, patch: [16, 16, 16],"
        " spacing: [1, 1, 1], selection: test_oracle, validate_every: 12}}\n"
        "grid: {method: [supervised]}\n"
    )

    def done(*arguments: object) -> str:
        outcome = medctx(*arguments)
        assert outcome.code == 0, outcome.out + outcome.err
        return outcome.out

    assert "8 cases; findings: 0 error, 0 warning, 0 fixed" in done("data", "check", "nnunet:Heart", *data)
    (id,) = re.findall(r"\b[0-9a-f]{16}\b", done("plan", study, *here))
    done("trial", study, id, *data, *here)
    folder = tmp_path / "here" / "trials" / id
    rows = pd.read_parquet(folder / "cases.parquet").query("metric == 'dice'")
    values = {name: (value,) for name, value in HEART.items() if value not in (0, 7)}
    values |= {"heart": (205, 500, 820)} if regions else {}
    assert set(rows["region"]) == set(values) and len(rows["case"].unique()) >= 2
    for row in rows.itertuples():
        stored = nibabel.load(folder / "predictions" / f"{row.case}.student.nii.gz")
        truth = np.asarray(nibabel.load(tmp_path / "data/Heart/labelsTr" / f"{row.case}.nii.gz").dataobj)
        predicted = np.asarray(stored.dataobj)
        assert stored.get_data_dtype() == np.uint16 and set(np.unique(predicted)) <= {0, 205, 500, 820}
        counted = truth != 7
        a, b = (np.isin(one[counted], values[row.region]) for one in (predicted, truth))
        expected = 2 * (a & b).sum() / (a.sum() + b.sum())
        assert row.value == pytest.approx(expected, abs=1e-12), (row.case, row.region)
    record = json.loads((folder / "trial.json").read_text())
    assert record["protocol"]["ignore"] == (7 if ignored else "none")
    last = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()][-1]
    means = rows.groupby("region")["value"].mean().to_dict()  # selected on the test cases, which are at 1 mm
    assert last["validation"] == pytest.approx(means, abs=1e-12)
    assert max(means.values()) > 0.1, "the network has learnt nothing, so that little is tested"
    done("rescore", study, *data, *here, "--workers", 1)
    report = done("report", study, *data, *here)
    assert "report.html" in report
    page = (tmp_path / "here" / "heart" / "report.html").read_text()
    said = '<td class="text">Ignored label</td><td class="prose">'
    assert f"{said}{7 if ignored else 'none'}</td>" in page
    scored = pd.read_csv(tmp_path / "here" / "heart" / "tables" / "conventions.csv")
    assert len(scored)
