"""Studies at the edge: one arm, one case, all values equal, nothing but misses; shown as such, never a crash."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial
from fake_tables import load

from harness.reporting.figures.study_figures import dice_series, factor_series
from harness.reporting.write import write_report
from harness.study.cells import Cell
from harness.study.study import Study

REGIONS = ("lobe", "duct")


def made(
    results: Path, cells: list[Cell], cases: int, dice: Mapping[str, float] = MappingProxyType({})
) -> Study:
    """Write records of ``cells``; ``dice`` is that of every case by architecture, otherwise it is drawn at random."""
    ids = [f"phantom_{n:03d}" for n in range(40, 40 + cases)]
    for index, cell in enumerate(cells):
        rng = np.random.default_rng(index)
        rows = []
        for case in ids:
            for region in REGIONS:
                value = dice.get(cell.factors["architecture"], float(rng.uniform(0.5, 0.9)))
                rows.append(case_row(case, region, value))
                rows.append(case_row(case, region, 10 * (1 - value), "hd95"))
        write_trial(results, make_record(cell, test_cases=ids), rows, [])
    return make_study(cells)


def grid(methods: tuple[str, ...], seeds: int, architecture: str = "unet") -> list[Cell]:
    return [make_cell(architecture=architecture, method=m, seed=s) for m in methods for s in range(seeds)]


def page_of(study: Study, results: Path) -> str:
    return write_report(study, results).page.read_text()


@pytest.mark.parametrize("cases", [1, 12])
@pytest.mark.parametrize("methods", [("supervised",), ("supervised", "medcontext", "mean_teacher")])
@pytest.mark.parametrize("seeds", [1, 3])
def test_any_size_has_a_report(tmp_path: Path, methods: tuple[str, ...], seeds: int, cases: int) -> None:
    study = made(tmp_path, grid(methods, seeds), cases)
    text = page_of(study, tmp_path)
    table = pd.read_csv(tmp_path / "fake_study" / "tables" / "dice.csv")
    mean = table[table["region"] == "mean"]
    assert len(mean) == len(methods) and (mean["seeds"] == seeds).all() and (mean["cases"] == cases).all()
    if len(methods) == 1:
        assert "No comparison yet" in text
    elif cases == 1:
        assert "No verdict on retraining: 1 " in text and "7 needed" in text
    else:
        told = "2 primary contrasts in Dice" if seeds == 3 else "No verdict on retraining: 1 seed, 3 needed"
        assert told in text and "95 % interval" in text
    drawn = {path.stem for path in (tmp_path / "fake_study" / "figures").glob("*.png")}
    assert {"dice_dots", "regions_dice", "cost"} <= drawn
    assert ("critical_difference" in drawn) == (len(methods) == 3 and cases == 12)


def test_two_who_write_one_report_at_one_time_leave_it_whole(tmp_path: Path) -> None:
    study = made(tmp_path, grid(("supervised", "medcontext"), 2), 5)
    alone = write_report(study, tmp_path, output=tmp_path / "alone").page.parent
    with ProcessPoolExecutor(3, get_context("spawn")) as pool:
        both = [pool.submit(write_report, study, tmp_path, None, tmp_path / "both") for _ in range(6)]
        assert all(one.result().answer for one in both)
    for path in alone.rglob("*"):
        if path.is_file():
            assert (tmp_path / "both" / path.relative_to(alone)).is_file(), path
    assert (tmp_path / "both" / "report.html").read_text() == (alone / "report.html").read_text()
    assert not [path for path in (tmp_path / "both" / "figures").iterdir() if path.name.startswith(".")]


def test_equal_values_have_no_star(tmp_path: Path) -> None:
    dice = {"unet": 0.75, "unetr": 0.0, "nnformer": 1.0}
    methods = ("supervised", "medcontext", "mean_teacher")
    study = made(tmp_path, [cell for name in dice for cell in grid(methods, 3, name)], 12, dice)
    text = page_of(study, tmp_path)
    table = pd.read_csv(tmp_path / "fake_study" / "tables" / "dice.csv")
    means = table[table["region"] == "mean"].groupby("architecture")["mean"].unique()
    assert {name: list(values) for name, values in means.items()} == {name: [v] for name, v in dice.items()}
    assert table["star"].fillna("").eq("").all() and (table["gain"].fillna(0) == 0).all()
    assert table["low_networks"].isna().all() and table["low_retraining"].isna().all()
    assert "Ranks over patients: all arms have equal values on every case." in text


def test_a_curve_of_a_numeric_factor_and_its_baseline(tmp_path: Path) -> None:
    cells = grid(("supervised",), 3)
    cells += [
        make_cell(architecture="unet", method="medcontext", seed=s, **{"method.ratio": ratio})
        for ratio in (0.2, 0.4, 0.8)
        for s in range(3)
    ]
    cells += [
        make_cell(architecture="unet", method="as_released", seed=s, **{"method.ratio": 0.4})
        for s in range(3)
    ]
    study = made(tmp_path, cells, 12)
    page = page_of(study, tmp_path)
    assert (tmp_path / "fake_study" / "figures" / "curve_method.ratio.svg").is_file()
    assert "Dice against ratio" in page
    found = load(study, tmp_path)
    rows = factor_series(found, dice_series(found), "method.ratio").groupby("arm")["x"].unique()
    assert rows["MedContext"].tolist() == [0.2, 0.4, 0.8]
    assert np.isnan(rows["Supervised"]).all() and np.isnan(rows["as released"]).all()
