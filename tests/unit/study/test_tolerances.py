"""Tolerances of normalised surface Dice: what a study may declare, what it does to ids, and what a report may show of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.study.expand import load_study
from harness.study.study import Study

BASE = "question: why?\nbase: {dataset: hippocampus, architecture: unet, method: supervised, recipe: {pipeline: short}}\n"
BOTH = "tolerances: {anterior: 1, posterior: 2.5}\n"


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    def load(text: str, data: Path | None = None) -> Study:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return load_study(str(path), data=data)

    return load


def test_a_tolerance_is_part_of_a_trials_id_and_none_changes_nothing(study) -> None:
    plain, told = study(BASE).cells[0].spec, study(BASE + BOTH).cells[0].spec
    other = study(BASE + "tolerances: {anterior: 1, posterior: 2}\n").cells[0].spec
    assert plain.tolerances is None and told.tolerances == {"anterior": 1.0, "posterior": 2.5}
    assert len({plain.id, told.id, other.id}) == 3
    turned = study(BASE + "tolerances: {posterior: 2.5, anterior: 1.0}\n").cells[0].spec
    assert turned.id == told.id


def test_trials_without_a_declared_region_keep_their_id(study) -> None:
    text = BASE.replace("dataset: hippocampus, ", "").replace(", recipe: {pipeline: short}", "")
    text += "grid: {dataset: [hippocampus, phantom]}\n"
    plain, told = study(text), study(text + BOTH)
    assert [one.spec.id == other.spec.id for one, other in zip(plain.cells, told.cells, strict=True)] == [
        False,
        True,
    ]


def test_a_pretraining_does_not_know_how_it_is_scored(study) -> None:
    text = BASE.replace("method: supervised", "method: masked_volume")
    (plain,), (told,) = study(text).nodes, study(text + BOTH).nodes
    assert plain.spec.id == told.spec.id and told.spec.tolerances is None


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("tolerances: {anterior: 1}", "found none for posterior of hippocampus; expected one in mm for each region"),
        ("tolerances: {anterior: 1, posterior: 2, Anterio: 1}", "unknown region 'Anterio'.*anterior, posterior.*'anterior'"),
        ("tolerances: {frontal: 1}", "unknown region 'frontal'; expected one of anterior, posterior"),
        ("tolerances: {anterior: 0, posterior: 1}", "tolerances.anterior"),
        ("tolerances: {anterior: wide, posterior: 1}", "tolerances.anterior"),
        ("tolerances: 2", "tolerances"),
        ("report: {metrics: [nsd@region]}", "no tolerances for hippocampus.*tolerances: {REGION: 2.0}"),
        ("report: {tables: [{name: x, rows: [method], metrics: [nsd@region]}]}", "no tolerances for hippocampus"),
    ],
)  # fmt: skip
def test_tolerances_that_do_not_fit(study, declared: str, said: str) -> None:
    with pytest.raises(UserError, match=f"(?s){said}"):
        study(BASE + declared + "\n")


def test_a_report_may_show_what_its_trials_have(study) -> None:
    assert study(BASE + BOTH + "report: {metrics: [nsd@region, false_positives]}\n").report.metrics == (
        "nsd@region",
        "false_positives",
    )


def test_the_regions_of_a_folder_are_checked_where_it_lies_and_its_ids_do_not_depend_on_that(
    study, tmp_path: Path
) -> None:
    text = BASE.replace("hippocampus", "nnunet:mine").replace(
        "{pipeline: short}", "{patch: [16, 16, 16], spacing: [1, 1, 1]}"
    )
    wrong = study(text + "tolerances: {liver: 1, spleen: 1}\n").cells[0].spec
    images = tmp_path / "data" / "mine" / "imagesTr"
    images.mkdir(parents=True)
    described = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "liver": 1}}
    (images.parent / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="unknown region 'spleen'; expected one of liver"):
        study(text + "tolerances: {liver: 1, spleen: 1}\n", tmp_path / "data")
    right = study(text + "tolerances: {liver: 1}\n", tmp_path / "data").cells[0].spec
    assert wrong.tolerances == {"liver": 1.0, "spleen": 1.0} and right.tolerances == {"liver": 1.0}
    assert right.id == study(text + "tolerances: {liver: 1}\n").cells[0].spec.id
