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
BETTER, FAILED = [0.05, 0.051, 0.049], [-0.5, 0.0, 0.0]


def test_each_of_few_contrasts_has_a_verdict_with_its_interval(tmp_path: Path) -> None:
    said = said_of(tmp_path, {("supervised", None): FLAT, ("new", 0.2): BETTER, ("new", 0.8): FAILED})
    assert said.startswith(
        "2 primary contrasts in Dice for retraining (5 %, Holm-corrected): new against Supervised (ratio 0.2): gain, +5."
    )
    assert "new against Supervised (ratio 0.8): undecided, −16." in said
    assert "3 seeds, 14 test cases" in said and "would be found four times out of five" in said


def test_equal_arms_are_equivalent_and_not_undecided(tmp_path: Path) -> None:
    said = said_of(tmp_path, {("supervised", None): FLAT, ("new", 0.2): FLAT})
    assert said.startswith("new against Supervised: equivalent, ") and "primary" not in said


def test_of_many_contrasts_the_verdicts_are_counted_and_the_largest_that_holds_is_told(
    tmp_path: Path,
) -> None:
    arms = {("new", ratio / 10): FLAT for ratio in range(4)} | {("new", 0.9): BETTER, ("new", 0.8): FAILED}
    said = said_of(tmp_path, {("supervised", None): FLAT, **arms})
    assert "6 primary contrasts in Dice" in said and "1 gain, 0 losses, 4 equivalent, 1 undecided." in said
    assert "The largest that holds: new against Supervised (ratio 0.9): gain, +5." in said


def test_no_seeds_no_verdict_but_the_difference_of_these_networks(tmp_path: Path) -> None:
    arms = {("supervised", None): FLAT[:1], ("new", 0.2): BETTER[:1], ("as_released", 0.2): FLAT[:1]}
    said = said_of(tmp_path, arms)
    assert said.startswith(
        "No verdict on retraining: 1 seed, 3 needed. The largest of 2 differences of these networks"
    )
    assert "to Supervised is that of new: +" in said and "95 % interval for new cases +" in said


def test_a_contrast_that_lacks_arms_is_not_estimated_from_the_others(tmp_path: Path) -> None:
    cells = [make_cell(architecture="unet", method=m, shots=n, seed=s)
             for m in ("supervised", "new") for n in (2, 5) for s in range(3)]  # fmt: skip
    for index, cell in enumerate(cells[:-3]):
        values = np.random.default_rng(index).normal(0.6, 0.01, 14)
        write_trial(
            tmp_path,
            make_record(cell),
            [case_row(f"{c:02d}", "lobe", float(v)) for c, v in enumerate(values)],
            [],
        )
    said = answer(*loaded(make_study(cells), tmp_path))
    assert said.startswith("No verdict on retraining: 1 of 4 arms have no complete trial.")


def test_training_cases_are_called_so(tmp_path: Path) -> None:
    cells = [make_cell(architecture="unet", method=m, shots=n) for m in ("supervised", "new") for n in (1, 5)]
    for index, cell in enumerate(cells):
        rows = [case_row(f"{c:02d}", "lobe", 0.5 + 0.01 * c * (1 + index)) for c in range(12)]
        write_trial(tmp_path, make_record(cell, training_cases=["a"] * cell.factors["shots"]), rows, [])
    assert "that of new (5 training cases): +" in answer(*loaded(make_study(cells), tmp_path))
