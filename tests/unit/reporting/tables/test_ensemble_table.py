"""The table of ensembles, on records that nobody trained: means, differences and folds by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial

from harness.errors import UserError
from harness.records.ensembles import ensemble_id, member_of, members_text, write_ensembles
from harness.records.store import Store
from harness.reporting.comparisons import comparison_frame
from harness.reporting.contrasts import contrast_frame
from harness.reporting.figures.dots import role_dots
from harness.reporting.figures.ensemble_figures import plan_ensemble_figures
from harness.reporting.figures.planned import Drawing
from harness.reporting.formats.table import Table
from harness.reporting.frames import case_frame, ensemble_frame, rescored_frame, trial_frame
from harness.reporting.report_data import ReportData, build_report_data
from harness.reporting.statistics.significance import new_cases_test
from harness.reporting.tables.ensembles import ensemble_table
from harness.reporting.tables.study import all_tables
from harness.study.cells import FOLD, Cell
from harness.study.study import Study

CASES = [[f"phantom_{10 * fold + number:03d}" for number in range(5)] for fold in (0, 1)]
GAIN = {"supervised": 0.02, "medcontext": 0.05}  # of the ensemble over its members


def dice(method: str, seed: int, case: str, region: str) -> float:
    """Return a score that is another one for every network, case and region."""
    number = int(case.rpartition("_")[2])
    return 0.5 + 0.1 * (method == "medcontext") + 0.03 * seed + 0.01 * (number % 7) + 0.2 * (region == "duct")


def of_ensemble(method: str, case: str, region: str) -> float:
    number = int(case.rpartition("_")[2])
    members = [dice(method, seed, case, region) for seed in (0, 1)]
    return float(np.mean(members)) + GAIN[method] * (1 + 0.1 * (number % 3))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two methods with two seeds of two folds; each fold tests five cases."""
    cells = [
        make_cell(method=method, architecture="unet", seed=seed, **{FOLD: fold})
        for method in ("supervised", "medcontext")
        for seed in (0, 1)
        for fold in (0, 1)
    ]
    cells = [Cell(_of_fold(cell), cell.factors, cell.steps) for cell in cells]
    for cell in cells:
        method, cases = cell.factors["method"], CASES[cell.factors[FOLD]]
        rows = [
            case_row(c, r, dice(method, cell.factors["seed"], c, r)) for c in cases for r in ("lobe", "duct")
        ]
        write_trial(
            tmp_path, make_record(cell, test_cases=cases, split_hash=str(cell.factors[FOLD])), rows, []
        )
    return make_study(cells)


def _of_fold(cell: Cell) -> Any:
    dataset = cell.spec.dataset.model_copy(update={"split_folds": 2, "split_fold": cell.factors[FOLD]})
    return cell.spec.model_copy(update={"dataset": dataset})


def table(study: Study, results: Path, folds: tuple[int, ...] = (0, 1)) -> Table:
    return ensemble_table(*scored_data(study, results, folds))


def scored_data(
    study: Study, results: Path, folds: tuple[int, ...] = (0, 1)
) -> tuple[ReportData, pd.DataFrame]:
    store, rows = Store(results, writable=False), []
    for method in GAIN:
        for fold in folds:
            cells = [c for c in study.cells if (c.factors["method"], c.factors[FOLD]) == (method, fold)]
            ids = [cell.spec.id for cell in cells]
            common = {
                "id": ensemble_id("seed", "student", ids), "over": "seed", "environment": "{}",
                "members": members_text([member_of(store, id) for id in ids]),
            }  # fmt: skip
            rows += [
                {**common, **case_row(c, r, of_ensemble(method, c, r))}
                for c in CASES[fold]
                for r in ("lobe", "duct")
            ]
    (results / study.name).mkdir(exist_ok=True)
    write_ensembles(results / study.name, rows)
    trials = trial_frame(study, results)
    scored = ensemble_frame(study, trials, results)
    assert isinstance(scored, pd.DataFrame) and {*scored["state"]} == {"whole"}
    return build_report_data(study, trials, case_frame(trials, results)), scored


def test_folds_are_pooled_and_differences_are_those_by_hand(study: Study, tmp_path: Path) -> None:
    found = table(study, tmp_path)
    every, regions = [case for cases in CASES for case in cases], ("lobe", "duct")
    own = {m: np.mean([[of_ensemble(m, c, r) for r in regions] for c in every], axis=1) for m in GAIN}
    members = {
        m: np.mean([[[dice(m, s, c, r) for r in regions] for s in (0, 1)] for c in every], axis=(1, 2))
        for m in GAIN
    }
    numbers = found.data.set_index(["method", "region"])
    for method in GAIN:
        assert numbers.loc[(method, "mean"), "value"] == pytest.approx(own[method].mean(), abs=1e-12)
        assert numbers.loc[(method, "mean"), "value_members"] == pytest.approx(
            members[method].mean(), abs=1e-12
        )
        assert (numbers.loc[method, "ensembles"] == 1).all() and len(
            numbers.loc[(method, "mean"), "trials"].split()
        ) == 4
    cells = {row[0].text: row for row in found.rows}
    assert {text: row[1].text for text, row in cells.items()} == dict.fromkeys(cells, "2 seeds")
    columns = [column.full_heading for column in found.columns]
    for name, difference in {
        "to the members": own["medcontext"] - members["medcontext"],
        "to the ensemble of supervised": own["medcontext"] - own["supervised"],
    }.items():
        place = next(i for i, text in enumerate(columns) if text.lower() == f"difference {name}: mean")
        mean, interval = cells["MedContext"][place : place + 2]
        assert mean.value == pytest.approx(100 * difference.mean(), abs=1e-9)
        low = new_cases_test(difference, np.random.default_rng(0)).low
        assert interval.value == pytest.approx(low, abs=1e-9) and "to" in interval.text
    assert cells["MedContext"][-1].text == "10"


def test_the_figure_shows_each_network_and_the_ensemble(study: Study, tmp_path: Path) -> None:
    data, scored = scored_data(study, tmp_path)
    (planned,) = plan_ensemble_figures(data, scored)
    drawing = planned.find()
    assert isinstance(drawing, Drawing) and drawing.plot is role_dots
    (series,) = drawing.series
    counts = series.groupby(["arm", "role"])["value"].agg(["count", "mean"])
    numbers = ensemble_table(data, scored).data.set_index(["method", "region"])
    for arm, method in (("Supervised", "supervised"), ("MedContext", "medcontext")):
        assert (
            counts.loc[(arm, "student"), "count"] == 2
            and counts.loc[(arm, "ensemble over seeds"), "count"] == 1
        )
        for role, column in {"student": "value_members", "ensemble over seeds": "value"}.items():
            mean = numbers.loc[(method, "mean"), column]
            assert counts.loc[(arm, role), "mean"] == pytest.approx(100 * mean, abs=1e-9)
    assert not [*plan_ensemble_figures(data, None)]


def test_an_arm_that_lacks_a_fold_has_no_ensemble(study: Study, tmp_path: Path) -> None:
    found = table(study, tmp_path, folds=(0,))
    assert not found.rows and any("Without an ensemble: 2 arms of 2" in note for note in found.footnotes)


def test_ensembles_of_trials_that_the_study_no_longer_has_are_left_out(study: Study, tmp_path: Path) -> None:
    table(study, tmp_path)
    more = make_cell(method="supervised", architecture="unet", seed=2, **{FOLD: 0})
    grown = make_study([*study.cells, Cell(_of_fold(more), more.factors, more.steps)])
    scored = ensemble_frame(grown, trial_frame(grown, tmp_path), tmp_path)
    assert isinstance(scored, pd.DataFrame) and scored["id"].nunique() == 3  # not that of two seeds of three
    members = json.loads(pd.read_parquet(tmp_path / study.name / "ensembles.parquet")["members"].iloc[0])
    assert [{*one} for one in members] == [{"id", "weights", "scores"}] * 2


@pytest.mark.parametrize(
    ("name", "damage"),
    [("ensembles", "empty"), ("ensembles", "cut"), ("ensembles", "flipped"), ("conventions", "cut")],
)
def test_a_damaged_file_costs_one_table_and_not_the_report(
    study: Study, tmp_path: Path, name: str, damage: str
) -> None:
    table(study, tmp_path)
    path = tmp_path / study.name / f"{name}.parquet"
    whole = (tmp_path / study.name / "ensembles.parquet").read_bytes()
    changed = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:40] + bytes([whole[40] ^ 255]) + whole[41:],
    }
    path.write_bytes(changed[damage])
    trials = trial_frame(study, tmp_path)
    data = build_report_data(study, trials, case_frame(trials, tmp_path))
    read = ensemble_frame(study, trials, tmp_path) if name == "ensembles" else rescored_frame(study, tmp_path)
    assert isinstance(read, UserError) and str(path) in str(read)
    tables = all_tables(data, comparison_frame(data), contrast_frame(data), [], **_given(name, read))
    (shown,) = (one for one in tables if one.refused)
    assert shown.name == name and str(path) in shown.rows[0][0].text


def _given(name: str, read: UserError) -> dict[str, Any]:
    return {"ensembles": read} if name == "ensembles" else {"rescored": read}
