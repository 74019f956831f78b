"""The answer of a study: which difference it names, and why nothing is compared where nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial
from fake_tables import loaded

from harness.reporting.page.answer import answer
from harness.reporting.write import write_report

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


def said_of(results: Path, gains: dict[tuple[str, float | None], list[float]]) -> str:
    """Return the answer where arms (method, ratio) have those gains over the baseline, seed by seed."""
    cells, level = [], np.random.default_rng(0).normal(0.6, 0.05, 14)
    for (method, ratio), by_seed in gains.items():
        for seed, gain in enumerate(by_seed):
            own = {} if ratio is None else {"method.ratio": ratio}
            cells.append(make_cell(architecture="unet", method=method, seed=seed, shots=5, **own))
            noise = np.random.default_rng([seed, len(cells)]).normal(0, 0.002, len(level))
            rows = [case_row(f"{c:02d}", "lobe", float(v)) for c, v in enumerate(level + gain + noise)]
            write_trial(results, make_record(cells[-1]), rows, [])
    return answer(*loaded(make_study(cells), results))


FLAT = [0.0, 0.001, -0.001]
FAILED = [-0.5, 0.0, 0.0]


def test_the_largest_difference_that_holds_is_named_and_none_of_a_failed_training(tmp_path: Path) -> None:
    said = said_of(
        tmp_path, {("supervised", None): FLAT, ("new", 0.2): [0.05, 0.051, 0.049], ("new", 0.8): FAILED}
    )
    assert said.startswith(
        "Of 2 comparisons with Supervised in Dice, 1 gain and 0 losses hold for retraining"
    )
    assert "The largest difference that holds is that of new, ratio 0.2: +5." in said


def test_where_nothing_holds_the_answer_says_so_first(tmp_path: Path) -> None:
    said = said_of(tmp_path, {("supervised", None): FLAT, ("new", 0.2): FLAT, ("new", 0.8): FAILED})
    assert said.startswith("None of 2 comparisons with Supervised in Dice holds for retraining")
    assert "The largest difference, which may be chance, is that of new, ratio 0.8: −16." in said
    assert "95 % interval [" in said


def test_a_setting_that_a_method_does_not_vary_is_no_part_of_its_name(tmp_path: Path) -> None:
    better = [0.05, 0.051, 0.049]
    arms = {("supervised", None): FLAT, ("new", 0.2): FLAT, ("new", 0.8): FLAT, ("as_released", 0.2): better}
    assert "is that of as released: +4.99" in said_of(tmp_path, arms)


def test_training_cases_are_called_so(tmp_path: Path) -> None:
    cells = [make_cell(architecture="unet", method=m, shots=n) for m in ("supervised", "new") for n in (1, 5)]
    for index, cell in enumerate(cells):
        rows = [case_row(f"{c:02d}", "lobe", 0.5 + 0.01 * c * (1 + index)) for c in range(12)]
        write_trial(tmp_path, make_record(cell, training_cases=["a"] * cell.factors["shots"]), rows, [])
    assert "that of new (5 training cases): +" in answer(*loaded(make_study(cells), tmp_path))
