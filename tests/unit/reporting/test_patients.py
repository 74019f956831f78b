"""The patient as the unit of a report: as records have it, as an older record's dataset does, and where nobody knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial
from fake_tables import load, tables_of

from harness.reporting.comparisons import comparison_frame
from harness.reporting.page.protocol import protocol_tables
from harness.reporting.patients import NOT_KNOWN, ONE_EACH, patients_text
from harness.reporting.statistics.significance import mean_test
from harness.study.study import Study

CASES = [f"p{patient:02d}_{frame}" for patient in range(13) for frame in (1, 2)]
SAID = "Which cases are of one patient is not known"


def written(results: Path, dataset: str, **protocol: object) -> tuple[Study, dict[str, np.ndarray]]:
    scores = {
        name: np.random.default_rng(place).normal(0.7, 0.05, (3, 26))
        for place, name in enumerate(("supervised", "a"))
    }
    cells = []
    for name, table in scores.items():
        for seed, row in enumerate(table):
            cells.append(make_cell(dataset=dataset, architecture="unet", method=name, seed=seed))
            rows = [case_row(case, "lobe", float(value)) for case, value in zip(CASES, row, strict=True)]
            write_trial(results, make_record(cells[-1], test_cases=CASES, **protocol), rows, [])
    return make_study(cells), scores


@pytest.mark.parametrize("dataset", ["nnunet:Gone", "phantom"])
def test_patients_of_a_record_are_the_unit_also_where_the_folder_is_not(tmp_path: Path, dataset: str) -> None:
    study, scores = written(tmp_path, dataset, patients={case: case[:3] for case in CASES})
    data = load(study, tmp_path)
    row = comparison_frame(data).iloc[0]
    by_patient = (scores["a"] - scores["supervised"]).reshape(3, 13, 2).mean(axis=2)
    assert (row["patients"], row["cases"]) == (13, 26)
    assert row["p_retraining"] == pytest.approx(mean_test(by_patient).p)
    assert patients_text(data.complete) == "13 patients of 26 test cases"
    assert SAID not in "\n".join(tables_of(study, tmp_path)["dice"].notes)


@pytest.mark.parametrize(
    ("dataset", "recorded", "text"),
    [
        ("hippocampus", "not known", NOT_KNOWN),
        ("hippocampus", None, NOT_KNOWN),  # of an earlier version: its class does not know
        ("nnunet:Gone", None, NOT_KNOWN),
        ("phantom", None, ONE_EACH),
        ("nnunet:Gone", "one for each case", ONE_EACH),
    ],
)
def test_not_known_is_told_and_is_not_none(tmp_path: Path, dataset: str, recorded: object, text: str) -> None:
    study, _ = written(tmp_path, dataset, patients=recorded)
    data = load(study, tmp_path)
    assert patients_text(data.complete) == text
    assert comparison_frame(data).iloc[0]["patients"] == 26
    assert (SAID in "\n".join(tables_of(study, tmp_path)["dice"].notes)) is (text == NOT_KNOWN)


def test_tolerances_by_region_are_said_below_the_scores(tmp_path: Path) -> None:
    study, _ = written(tmp_path, "phantom", tolerances={"lobe": 1.0, "duct": 2.5})
    said = "\n".join(tables_of(study, tmp_path)["dice"].notes)
    assert "NSD at the region's tolerance: duct 2.5 mm, lobe 1 mm." in said
    data = load(study, tmp_path)
    ((_, rows),) = protocol_tables(data)
    (row,) = (row for row in rows if row.field == "Tolerance of NSD by region")
    assert "lobe 1" in row.value and row.value.endswith(" mm")


def test_arms_that_were_scored_at_other_tolerances_are_not_compared(tmp_path: Path) -> None:
    cells = []
    for place, name in enumerate(("supervised", "a")):
        cells.append(make_cell(dataset="phantom", architecture="unet", method=name))
        record = make_record(cells[-1], test_cases=CASES, tolerances={"lobe": 1.0 + place})
        write_trial(tmp_path, record, [case_row(case, "lobe", 0.5) for case in CASES], [])
    (said,) = load(make_study(cells), tmp_path).undeclared_differences
    assert said.startswith("tolerances differs between trials that should share it")
