from pathlib import Path

from fake_results import Fake, case_row, make_cell, make_record, make_study, write_trial

from harness.reporting.frames import case_frame, history_frame, trial_frame
from harness.reporting.wording import UNSET


def test_one_row_per_cell_in_order(fake: Fake) -> None:
    trials = trial_frame(fake.study, fake.results)
    assert trials["id"].tolist() == [cell.spec.id for cell in fake.study.cells]
    assert trials["status"].value_counts().to_dict() == {"complete": 14, "failed": 1, "pending": 1}
    failed = trials[trials["status"] == "failed"].iloc[0]
    assert failed["cause"] == "out_of_memory"
    assert "CUDA out of memory" in failed["traceback"]
    done = trials.iloc[0]
    assert (done["split_hash"], done["commit"], done["parameters"]) == (
        "5b1175b1175b1175",
        "a1b2c3d",
        1_400_000,
    )
    assert set(trials["shots"]) == {5, "all"}


def test_case_rows_of_all_complete_trials(fake: Fake) -> None:
    trials = trial_frame(fake.study, fake.results)
    cases = case_frame(trials, fake.results)
    assert len(cases) == sum((1 if m == "supervised" else 2) * 40 for m in trials["method"][:14])
    assert set(cases["id"]) == set(trials["id"][:14])
    one = cases[cases["id"] == trials["id"][0]]
    assert set(one["case"]) == {f"phantom_{n:03d}" for n in (40, 41, 42, 43, 44)}
    assert one["value"].isna().sum() == 2


def test_history_is_tidy(fake: Fake) -> None:
    trials = trial_frame(fake.study, fake.results)
    history = history_frame(trials.iloc[:1], fake.results)
    assert set(history["kind"]) == {"loss", "dice"}
    assert len(history[(history["kind"] == "loss") & (history["name"] == "total")]) == 300
    assert set(history.loc[history["kind"] == "dice", "name"]) == {"lobe", "duct", "mean"}


def test_empty_results_folder(fake: Fake, tmp_path: Path) -> None:
    trials = trial_frame(fake.study, tmp_path)
    assert set(trials["status"]) == {"pending"}
    assert case_frame(trials, tmp_path).empty
    assert history_frame(trials, tmp_path).empty


def test_damaged_records_are_named_not_raised(tmp_path: Path) -> None:
    cells = [make_cell(architecture="unet", method="supervised", seed=seed) for seed in (0, 1)]
    write_trial(tmp_path, make_record(cells[0]), [], [])
    folder = write_trial(tmp_path, make_record(cells[1]), [case_row("1", "a", 1.0)], [])
    (folder / "trial.json").write_text("{torn")
    trials = trial_frame(make_study(cells), tmp_path)
    assert trials["status"].tolist() == ["damaged", "damaged"]
    assert trials["cause"].tolist() == ["damaged record"] * 2
    assert [text.split(" (")[0] for text in trials["message"]] == [
        "cases.parquet cannot be read", "trial.json cannot be read"
    ]  # fmt: skip


def test_factor_that_a_cell_does_not_set(tmp_path: Path) -> None:
    cells = [make_cell(architecture="unet", method="supervised"),
             make_cell(architecture="unet", method="new", **{"method.ratio": 0.2}),
             make_cell(architecture="unet", method="new", **{"method.axes": [0, 1]})]  # fmt: skip
    trials = trial_frame(make_study(cells), tmp_path)
    assert trials["method.ratio"].tolist() == [UNSET, 0.2, UNSET]
    assert trials["method.axes"].tolist() == [UNSET, UNSET, (0, 1)]
