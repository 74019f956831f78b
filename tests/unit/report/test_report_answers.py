"""The answer of a study in which nothing is compared, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial

from harness.report import write_report

CASES = [f"case_{n}" for n in range(2)]


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (
            [{"method": "medcontext"}, {"method": "mean_teacher"}],
            "No comparison: no arm is called supervised. Name the arm to compare with as report.baseline",
        ),
        (
            [{"method": "supervised"}, {"method": "medcontext", "architecture": "unetr"}],
            "No comparison: no arm differs from one of supervised in its method alone",
        ),
    ],
)
def test_an_answer_says_why_nothing_can_ever_be_compared(tmp_path: Path, arms: list[dict], said: str) -> None:
    cells = [make_cell(**{"architecture": "unet", **arm}) for arm in arms]
    for cell in cells:
        rows = [case_row(case, "lobe", 0.5, "dice") for case in CASES]
        write_trial(tmp_path, make_record(cell, test_cases=CASES), rows, [])
    assert write_report(make_study(cells), tmp_path).answer.startswith(said)
