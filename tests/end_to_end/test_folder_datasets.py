"""Every command on a dataset that is any folder: of nnU-Net, and of the Decathlon."""

from __future__ import annotations

import json
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
@pytest.mark.parametrize("family", ["nnunet", "msd"])
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
