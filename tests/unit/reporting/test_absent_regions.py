"""A region that a case does not have: a false positive of one arm does not vanish because the other arm has no Dice there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial
from fake_tables import load, scored, tables_of

from harness.commands.power import report_data
from harness.reporting.absent_regions import with_false_positives
from harness.reporting.comparisons import comparison_frame
from harness.reporting.contrasts import contrast_frame
from harness.reporting.report_data import ReportData
from harness.study.file import FALSE_POSITIVES, ReportSpec

CASES = [f"case_{n:02d}" for n in range(24)]
ABSENT = CASES[:14]  # in which the only region is not


def written(results: Path, wrong: dict[str, int]) -> ReportData:
    """Write trials of two arms and three seeds; each network predicts an absent region in its first ``wrong`` cases of them."""
    cells = [make_cell(architecture="unet", method=name, seed=seed) for name in wrong for seed in range(3)]
    for cell in cells:
        rng, rows = np.random.default_rng(cell.factors["seed"]), []
        number = wrong[cell.factors["method"]] + cell.factors["seed"]
        for place, case in enumerate(CASES):
            if case not in ABSENT:
                rows.append(case_row(case, "lobe", float(rng.uniform(0.8, 0.9))))
            elif place < number:
                rows.append(case_row(case, "lobe", 0.0, empty="reference"))
            else:
                rows.append(case_row(case, "lobe", float("nan"), empty="both"))
        write_trial(results, make_record(cell, test_cases=CASES), rows, [])
    return report_data(make_study(cells), results)


def test_false_positives_of_one_arm_are_compared_on_all_absent_regions(tmp_path: Path) -> None:
    frame = comparison_frame(written(tmp_path, {"supervised": 0, "medcontext": 9})).set_index("metric")
    dice, found = frame.loc["dice"], frame.loc[FALSE_POSITIVES]
    assert (dice["patients"], dice["dropped"], dice["difference"]) == (10, 11, 0)  # Dice does not see them
    assert (found["patients"], found["dropped"]) == (14, 0)
    assert found["difference"] == pytest.approx(9 / 14)
    assert found["verdict"] == "loss" and found["low_retraining"] > 0


def test_arms_that_are_right_alike_do_not_differ(tmp_path: Path) -> None:
    frame = comparison_frame(written(tmp_path, {"supervised": 3, "medcontext": 3})).set_index("metric")
    assert frame.loc[FALSE_POSITIVES, "difference"] == 0
    assert frame.loc[FALSE_POSITIVES, "verdict"] in ("", "equivalent", "undecided")


def test_rows_are_made_of_dice_alone_and_only_where_a_region_is_absent() -> None:
    rows = [
        {**case_row("a", "lobe", 0.0, empty="reference"), "id": "x"},
        {**case_row("a", "lobe", 74.0, "hd95", empty="reference"), "id": "x"},
        {**case_row("b", "lobe", float("nan"), empty="both"), "id": "x"},
        {**case_row("c", "lobe", 0.0, empty="prediction"), "id": "x"},
        {**case_row("d", "lobe", 0.9), "id": "x"},
    ]
    cases = pd.DataFrame(rows).astype({"metric": "category"})
    added = with_false_positives(cases).iloc[len(rows) :]
    assert added[["case", "metric", "value"]].values.tolist() == [
        ["a", FALSE_POSITIVES, 1.0],
        ["b", FALSE_POSITIVES, 0.0],
    ]
    assert with_false_positives(cases.iloc[4:]) is not None and len(with_false_positives(cases.iloc[4:])) == 1


def test_they_can_be_a_metric_of_the_report_with_a_table_and_contrasts(tmp_path: Path) -> None:
    data = written(tmp_path, {"supervised": 0, "medcontext": 9})
    study = replace(data.study, report=ReportSpec(metrics=("dice", FALSE_POSITIVES)))
    table = tables_of(study, tmp_path)[FALSE_POSITIVES]
    assert table.title == "False positives (%)" and "Cases: test cases that lack a region." in "\n".join(
        table.notes
    )
    rows = {row["method"]: row for row in table.data.to_dict("records") if row["region"] == "mean"}
    assert rows["medcontext"]["mean"] == pytest.approx(10 / 14) and rows["supervised"][
        "mean"
    ] == pytest.approx(1 / 14)
    contrasts = contrast_frame(load(study, tmp_path)).set_index("metric")
    assert contrasts.loc[FALSE_POSITIVES, "difference"] == pytest.approx(9 / 14)
    assert contrasts.loc[FALSE_POSITIVES, "verdict"] == "loss"


def test_a_table_of_them_says_where_no_region_is_absent(tmp_path: Path) -> None:
    scored(tmp_path, 0.9)
    study = make_study([scored(tmp_path, 0.8, seed=1)], report=ReportSpec(metrics=("dice", FALSE_POSITIVES)))
    table = tables_of(study, tmp_path)[FALSE_POSITIVES]
    assert "No test case lacks a region, so that there are none." in "\n".join(table.notes)
