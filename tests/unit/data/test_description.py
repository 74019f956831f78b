"""dataset.json: what it may be, and what is said of one that is something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from harness.data.description import msd_description, nnunet_description, read_description
from harness.errors import UserError

V2 = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}}
MSD = {"modality": {"0": "MR"}, "labels": {"0": "background", "1": "a"}}


def labels(value: object) -> dict[str, Any]:
    return {**V2, "labels": value}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (MSD, "'modality', as nnU-Net v1 and the Decathlon have it.*Write it as nnU-Net v2 does"),
        ({**MSD, "training": [{"image": "i", "label": "l"}]}, "name the folder msd:FOLDER"),
        (labels({"0": "background", "1": "a"}), r"number: name; expected labels as name: number. Turn them round"),
        (labels({"0": "background", "1": "a", "2": "b"}), "Turn them round"),
        (labels({"background": 0, "a": 1.5}), "name: number"),
        (labels({"background": 0, "a": None}), "name: number"),
        (labels({"background": 0, "a": -1}), "name: number"),
        (labels({"background": 0, "a": [1, "x"]}), "'x' for the label 'a'; expected a whole number"),
        (labels({"a": 1}), "a label 0. Add \"background\": 0"),
        (labels(["background", "a"]), "an object 'labels'"),
        (labels({}), "an object 'labels'"),
        ({"channel_names": {"0": "MR"}}, "no 'labels'"),
        ({"labels": V2["labels"]}, "no 'channel_names'"),
        ({**V2, "channel_names": ["MR"]}, "an object 'channel_names'"),
        ({**V2, "channel_names": {"MR": 0}}, "number: name, from 0"),
        ({**V2, "channel_names": {"0": "T1", "2": "T2"}}, "number: name, from 0"),
        ({}, "no 'labels'"),
    ],
)  # fmt: skip
def test_what_is_not_of_nnunet_is_said(content: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"dataset.json: found .*{said}"):
        nnunet_description(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (V2, "'channel_names', as nnU-Net v2 has it.*nnunet:FOLDER"),
        (
            {**MSD, "labels": {"background": 0, "a": 1}},
            "name: number; expected labels as number: name. Turn them",
        ),
        ({**MSD, "labels": {"background": "0", "a": "1"}}, "Turn them round"),
        ({**MSD, "labels": {"zero": "background"}}, "labels as number: name. Write it as the Decathlon"),
        ({**MSD, "labels": {"1": "a"}}, "a label 0"),
        ({**MSD, "modality": "MR"}, "an object 'modality'"),
        ({"training": []}, "no 'labels'"),
    ],
)
def test_what_is_not_of_the_decathlon_is_said(content: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"dataset.json: found .*{said}"):
        msd_description(content)


@pytest.mark.parametrize(
    "given", [{"background": "0", "a": "1"}, {"background": 0.0, "a": 1.0}, {"background": 0, "a": " 1 "}]
)
def test_numbers_may_be_texts(given: dict[str, Any]) -> None:
    assert nnunet_description(labels(given))["labels"] == {"background": 0, "a": 1}


def test_regions_and_ignored_labels_may_be_texts_too() -> None:
    given = {"background": "0", "whole": ["1", 2], "core": "2", "ignore": "3"}
    found = nnunet_description(labels(given))["labels"]
    assert found == {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}


def test_channels_are_in_the_order_of_their_numbers() -> None:
    given = {**V2, "channel_names": {"1": "T2", "0": "T1"}}
    assert list(nnunet_description(given)["channel_names"].values()) == ["T1", "T2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "no such file"), ("{", "cannot be read"), ("[]", "a list; expected a JSON object")],
)
def test_a_file_that_is_no_description_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "dataset.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=rf"dataset\.json: found .*{said}"):
        read_description(path)


@pytest.mark.parametrize(
    ("family", "content"),
    [("nnunet", None), ("msd", None), ("nnunet", MSD), ("nnunet", labels({"0": "background"})), ("msd", V2), ("msd", [])],
)  # fmt: skip
def test_a_check_blames_the_description_and_nothing_else(
    tmp_path: Path, family: str, content: object, medctx: Any
) -> None:
    for part, name in (("imagesTr", "c_0000.nii.gz"), ("labelsTr", "c.nii.gz")):
        (tmp_path / "D" / part).mkdir(parents=True)
        nibabel.save(
            nibabel.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.eye(4)), tmp_path / "D" / part / name
        )
    if content is not None:
        (tmp_path / "D" / "dataset.json").write_text(json.dumps(content))
    outcome = medctx("data", "check", f"{family}:D", "--data", tmp_path, "--json")
    (finding,) = json.loads(outcome.out)["findings"]
    assert outcome.code == 1 and finding["level"] == "error" and finding["file"].endswith("D/dataset.json")
