"""Cross-validation in a report: scores are pooled out of fold before any mean, and a missing fold is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial
from fake_tables import load

from harness.reporting.comparisons import comparison_frame
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.significance import compare
from harness.reporting.tables.cost import cost_table
from harness.reporting.tables.scores import score_table
from harness.reporting.tables.trials import trials_table
from harness.reporting.write import write_report
from harness.spec import DatasetSpec
from harness.study.axes import row_keys
from harness.study.cells import Cell

REGIONS, METHODS, SEEDS = ("lobe", "duct"), ("supervised", "medcontext"), (0, 1, 2)
FOLDS = (("c00", "c01", "c02", "c03", "c04", "c05"), ("c06", "c07", "c08", "c09"), ("c10", "c11", "c12"))
CASES = [case for fold in FOLDS for case in fold]


def fold_cell(method: str, seed: int, fold: int) -> Cell:
    cell = make_cell(architecture="unet", method=method, seed=seed, **{"split.fold": fold})
    dataset = DatasetSpec(name="phantom", version=1, split_folds=len(FOLDS), split_fold=fold)
    return replace(cell, spec=cell.spec.model_copy(update={"dataset": dataset}))


def write_folds(
    results: Path, cells: Iterable[Cell], tested: tuple[tuple[str, ...], ...] = FOLDS
) -> dict[tuple[str, int, int], np.ndarray]:
    """Write records of ``cells``; return the Dice of each, ``(regions, cases)``, by method, seed and fold."""
    found, rng = {}, np.random.default_rng(1)
    for cell in cells:
        method, seed, fold = (cell.factors[key] for key in ("method", "seed", "split.fold"))
        cases = tested[fold]
        dice = (
            0.5
            + 0.1 * fold
            + 0.05 * (method != "supervised")
            + rng.normal(0, 0.05, (len(REGIONS), len(cases)))
        )
        rows = [case_row(case, region, float(dice[r, c])) for (r, region), (c, case) in
                product(enumerate(REGIONS), enumerate(cases))]  # fmt: skip
        history = [{"step": 0, "losses": {"total": 1.0}, "learning_rate": 0.1}]
        record = make_record(
            cell, test_cases=list(cases), split_rule=f"fold {fold} of 3", split_hash=f"{fold}" * 16
        )
        write_trial(results, record, rows, history)
        found[method, seed, fold] = dice
    return found


ALL = [fold_cell(method, seed, fold) for method, seed, fold in product(METHODS, SEEDS, range(3))]


def notes_of(data: ReportData) -> str:
    return " ".join(score_table("dice", "dice", data, comparison_frame(data)).footnotes)


def pooled(dice: dict[tuple[str, int, int], np.ndarray], method: str, seed: int) -> np.ndarray:
    """Return ``(regions, cases)`` of all folds."""
    return np.concatenate([dice[method, seed, fold] for fold in range(3)], axis=1)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ReportData, dict[tuple[str, int, int], np.ndarray]]:
    results = tmp_path_factory.mktemp("folds")
    dice = write_folds(results, ALL)
    return load(make_study(ALL), results), dice


def test_an_arms_value_for_a_seed_is_the_mean_over_the_cases_of_all_folds(whole) -> None:
    data, dice = whole
    table = score_table("dice", "dice", data, comparison_frame(data)).data
    for method in METHODS:
        by_seed = [pooled(dice, method, seed).mean(axis=1).mean() for seed in SEEDS]
        by_fold = [np.mean([dice[method, seed, fold].mean() for fold in range(3)]) for seed in SEEDS]
        (row,) = table[(table["method"] == method) & (table["region"] == "mean")].to_dict("records")
        assert row["mean"] == pytest.approx(np.mean(by_seed), abs=1e-12)
        assert row["sd"] == pytest.approx(np.std(by_seed, ddof=1), abs=1e-12)
        assert abs(np.mean(by_seed) - np.mean(by_fold)) > 0.01
        assert (row["seeds"], row["cases"]) == (3, 13)


def test_seeds_and_folds_are_told_apart(whole) -> None:
    data, _ = whole
    table = score_table("dice", "dice", data, comparison_frame(data))
    headings = [column.heading for column in table.columns]
    row = dict(zip(headings, [cell.text for cell in table.rows[0]], strict=True))
    assert (row["Seeds"], row["Folds"], row["Cases"]) == ("n=3", "3", "13")
    assert "split.fold" not in data.keys and len(table.rows) == 2
    assert set(table.rows[0][1].trials) == {
        cell.spec.id for cell in ALL if cell.factors["method"] == "supervised"
    }
    notes = " ".join(table.footnotes)
    assert "Each seed of an arm is 3 networks, one for each fold" in notes
    assert "Each of 13 cases is tested once" in notes and "too narrow for other training cases" in notes
    trials = trials_table(data)
    assert [column.heading for column in trials.columns][1:4] == ["Method", "Seed", "Fold"]
    assert len(trials.rows) == 18
    assert [row[-1].text for row in cost_table(data).rows] == ["n=9", "n=9"]


def test_tests_are_those_of_the_pooled_cases(whole) -> None:
    data, dice = whole
    arms = {
        method: np.stack([pooled(dice, method, seed).mean(axis=0) for seed in SEEDS]) for method in METHODS
    }
    expected = compare([arms["medcontext"] - arms["supervised"]], np.random.default_rng(0))
    frame = comparison_frame(data)
    (row,) = frame[frame["metric"] == "dice"].to_dict("records")
    assert row["difference"] == pytest.approx(expected.difference) and row["cases"] == 13
    assert row["p_retraining"] == pytest.approx(expected.retraining.p)
    assert row["p_networks"] == pytest.approx(expected.these_networks.p)


def test_a_seed_without_all_folds_is_in_no_mean_and_is_named(tmp_path: Path) -> None:
    missing = [cell for cell in ALL if cell.factors["method"] == "medcontext" and cell.factors["seed"] == 1][
        2:
    ]
    dice = write_folds(tmp_path, [cell for cell in ALL if cell not in missing])
    study = make_study(ALL)
    data = load(study, tmp_path)
    table = score_table("dice", "dice", data, comparison_frame(data))
    (row,) = table.data[(table.data["method"] == "medcontext") & (table.data["region"] == "mean")].to_dict(
        "records"
    )
    assert row["mean"] == pytest.approx(
        np.mean([pooled(dice, "medcontext", s).mean(axis=1).mean() for s in (0, 2)])
    )
    assert [cell.text for cell in table.rows[1]][-4:-2] == ["n=2 of 3", "3"]
    said = (
        "Incomplete, and in no mean and no test until all folds are there: medcontext, seed 1 (2 of 3 folds)."
    )
    assert said in table.footnotes
    assert said in write_report(study, tmp_path).page.read_text()


def test_an_arm_that_leaves_a_fold_out_is_incomplete(tmp_path: Path) -> None:
    cells = [
        cell for cell in ALL if (cell.factors["method"], cell.factors["split.fold"]) != ("medcontext", 0)
    ]
    write_folds(tmp_path, cells)
    data = load(make_study(cells), tmp_path)
    assert {arm[-1] for arm in data.ids_by_arm} == {"supervised"}
    assert "medcontext, seed 0 (2 of 3 folds); medcontext, seed 1 (2 of 3 folds)" in notes_of(data)


def test_folds_that_nobody_plans_are_cautioned_of(tmp_path: Path) -> None:
    cells = [cell for cell in ALL if cell.factors["split.fold"]]
    write_folds(tmp_path, cells)
    notes = notes_of(load(make_study(cells), tmp_path))
    assert "Caution: 2 of 3 folds are planned, so that not every case is tested." in notes
    assert "Each of 7 cases is tested once" in notes


def test_folds_that_test_the_same_cases_are_averaged_by_case(tmp_path: Path) -> None:
    dice = write_folds(tmp_path, ALL, (FOLDS[0],) * 3)
    data = load(make_study(ALL), tmp_path)
    table = score_table("dice", "dice", data, comparison_frame(data))
    (row,) = table.data[(table.data["method"] == "supervised") & (table.data["region"] == "mean")].to_dict(
        "records"
    )
    expected = [np.mean([dice["supervised", seed, fold] for fold in range(3)]) for seed in SEEDS]
    assert row["mean"] == pytest.approx(np.mean(expected)) and row["cases"] == 6
    assert "All folds test the same 6 cases; a case's score is the mean over folds." in " ".join(
        table.footnotes
    )


def test_one_fold_alone_is_a_plain_split(tmp_path: Path) -> None:
    cells = [cell for cell in ALL if cell.factors["split.fold"] == 1]
    write_folds(tmp_path, cells)
    data = load(make_study(cells), tmp_path)
    assert not data.is_folded and data.fold_notes == []
    table = score_table("dice", "dice", data, comparison_frame(data))
    assert "Folds" not in [column.heading for column in table.columns]


def test_folds_are_no_rows() -> None:
    study = make_study(ALL)
    assert row_keys(study.report, study.varying()) == ("method",)


def test_a_report_of_folds_is_whole(tmp_path: Path) -> None:
    write_folds(tmp_path, ALL)
    page = write_report(make_study(ALL), tmp_path).page
    assert "13 tested in all" in page.read_text() and "Each seed of an arm is 3 networks" in page.read_text()
    trials = pd.read_csv(page.parent / "tables" / "trials.csv")
    assert sorted(set(zip(trials["seed"], trials["split.fold"], strict=True))) == list(
        product(SEEDS, range(3))
    )
