"""Several studies in one report: each keeps its contrasts, on its own trials and in families of its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial
from fake_tables import load, loaded, tables_of

from harness.commands.report import report
from harness.errors import UserError
from harness.reporting.contrasts import contrast_frame
from harness.reporting.page.answer import answer
from harness.study.combine import STUDY, combine
from harness.study.contrasts import ContrastSpec
from harness.study.expand import load_study
from harness.study.file import ReportSpec
from harness.study.study import Study

CASES = [f"{c:02d}" for c in range(13)]
NUMBERS = (
    "difference",
    "low_retraining",
    "high_retraining",
    "p_retraining",
    "holm_retraining",
    "holm_equivalent",
)
FEW = {"shots": 2}


def study_of(name: str, arms: list[dict[str, Any]], **report: Any) -> Study:
    cells = [
        make_cell(**{"architecture": "unet", "shots": 5, **arm, "seed": seed})
        for arm in arms
        for seed in range(3)
    ]
    return make_study(cells, name=name, question=f"{name}?", report=ReportSpec(metrics=("dice",), **report))


def write(results: Path, *studies: Study) -> None:
    """Write a trial for each cell, those that studies share once."""
    cells = {cell.spec.id: cell for study in studies for cell in study.cells}
    for cell, number in zip(cells.values(), count()):
        values = 0.7 + np.random.default_rng(number).normal(0, 0.02, len(CASES)) + 0.003 * number
        rows = [case_row(case, "lobe", float(value)) for case, value in zip(CASES, values, strict=True)]
        write_trial(results, make_record(cell, test_cases=CASES), rows, [])


@pytest.fixture
def pair() -> tuple[Study, Study]:
    """Two studies that share the arm 'supervised' of five cases; the other factors of the second are its own."""
    first = study_of(
        "first", [{"method": name} for name in ("supervised", "a", "b")],
        contrasts=(ContrastSpec(name="a", of="a", primary=True), ContrastSpec(name="b", of="b", primary=True)),
    )  # fmt: skip
    second = study_of(
        "second", [{"method": name, **more} for name in ("supervised", "c") for more in ({}, FEW)], baseline="c",
        contrasts=(
            ContrastSpec(name="plain", of="supervised", pool=("shots",), primary=True),
            ContrastSpec(name="more", of="c", trend="shots"),
        ),
    )  # fmt: skip
    return first, second


def alone(study: Study, results: Path) -> pd.DataFrame:
    return contrast_frame(load(study, results))


def test_the_contrasts_of_each_are_those_of_its_own_report(pair: tuple[Study, Study], tmp_path: Path) -> None:
    write(tmp_path, *pair)
    both = contrast_frame(load(combine(pair, "both"), tmp_path))
    assert both["study"].tolist() == ["first"] * 2 + ["second"] * 2
    assert both["family_retraining"].tolist() == [2, 2, 1, 1]  # not one of three
    for study in pair:
        own, here = alone(study, tmp_path), both[both["study"] == study.name]
        for name in NUMBERS:
            assert here[name].tolist() == pytest.approx(own[name].tolist(), nan_ok=True)
        for name in ("contrast", "of", "to", "pooled", "kind", "verdict"):
            assert here[name].tolist() == own[name].tolist()


def test_trials_that_look_alike_do_not_mix(tmp_path: Path) -> None:
    """Another recipe is no factor: the studies tell the arms apart, also where they share a trial."""
    first = study_of(
        "first",
        [{"method": name} for name in ("supervised", "a")],
        contrasts=(ContrastSpec(name="a", of="a"),),
    )
    longer = [
        replace(cell, spec=cell.spec.model_copy(update={"recipe": cell.spec.recipe.model_copy(update={"steps": 9})}))
        if cell.factors["method"] == "a" else cell
        for cell in first.cells
    ]  # fmt: skip
    second = replace(first, name="second", cells=tuple(longer))
    write(tmp_path, first, second)
    whole = combine([first, second], "both")
    assert STUDY in whole.factors and len(whole.cells) == 9
    both = contrast_frame(load(whole, tmp_path))
    for study in (first, second):
        here, own = both[both["study"] == study.name], alone(study, tmp_path)
        assert here["difference"].tolist() == pytest.approx(own["difference"].tolist())
        assert here["seeds"].tolist() == own["seeds"].tolist() == [3] * len(own)
    assert both.loc[both["primary"], "difference"].nunique() == 2


def test_a_study_that_declares_none_has_its_defaults_beside_one_that_does(
    pair: tuple[Study, Study], tmp_path: Path
) -> None:
    first, second = pair
    second = replace(second, report=ReportSpec(metrics=("dice",)))
    write(tmp_path, first, second)
    both = contrast_frame(load(combine([first, second], "both"), tmp_path))
    assert both.loc[both["primary"], ["study", "contrast"]].values.tolist() == [
        ["first", "a"], ["first", "b"], ["second", "c"],
    ]  # fmt: skip


def test_where_none_declares_any_all_trials_are_one_study(pair: tuple[Study, Study], tmp_path: Path) -> None:
    first, second = (replace(study, report=ReportSpec(metrics=("dice",))) for study in pair)
    write(tmp_path, first, second)
    both = contrast_frame(load(combine([first, second], "both"), tmp_path))
    assert set(both["study"]) == {""} and both["family_retraining"].max() == 3


def test_table_and_answer_say_whose_contrasts_they_are(pair: tuple[Study, Study], tmp_path: Path) -> None:
    write(tmp_path, *pair)
    whole = combine(pair, "both")
    table = tables_of(whole, tmp_path)["contrasts"]
    assert table.columns[0].heading == "Study"
    assert [row[0].text for row in table.rows] == ["first", "first", "second", "second"]
    assert "study" in table.data
    notes = "\n".join(table.footnotes)
    assert "first: Primary (declared by the study): corrected over 2 contrasts of each metric." in notes
    assert "second: Exploratory: corrected over 1 contrast of each metric" in notes
    assert "Each study's contrasts are of its own trials, and are corrected among themselves." in notes
    said = answer(*loaded(whole, tmp_path))
    assert "3 primary contrasts in Dice for retraining (5 %, Holm-corrected within each study)" in said
    assert "(second, " in said and "(first)" in said
    single = tables_of(pair[0], tmp_path)["contrasts"]
    assert single.columns[0].heading == "Contrast" and "study" not in single.data


def test_margins_of_both_are_told(pair: tuple[Study, Study], tmp_path: Path) -> None:
    first, second = pair
    second = replace(second, report=second.report.model_copy(update={"margin": {"dice": 0.25}}))
    write(tmp_path, first, second)
    table = tables_of(combine([first, second], "both"), tmp_path)["contrasts"]
    assert "(0.5 or 0.25 points of Dice)" in table.footnotes[0]


YAML = """question: {name}?
base: {{dataset: phantom, architecture: unet, shots: 5, recipe: {{steps: 2}}}}
grid: {{method: [supervised, {method}], seed: [0, 1, 2]}}
report: {{metrics: [dice], contrasts: [{{name: {name} asks, of: {method}, primary: true}}]}}
"""


def test_medctx_report_of_two_studies_with_contrasts(medctx, tmp_path: Path) -> None:
    paths = []
    for name, method in (("one", "medcontext"), ("two", "mean_teacher")):
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(YAML.format(name=name, method=method))
    write(tmp_path / "results", *(load_study(str(path)) for path in paths))
    options = ("--results", tmp_path / "results", "--output", tmp_path / "both")
    outcome = medctx("report", *paths, *options)
    assert outcome.code == 0, outcome
    table = pd.read_csv(tmp_path / "both" / "tables" / "contrasts.csv")
    primary = table[table["primary"]]
    assert primary["study"].tolist() == ["one", "two"]
    assert (
        primary["contrast"].tolist() == ["one asks", "two asks"] and (primary["family_retraining"] == 1).all()
    )
    page = (tmp_path / "both" / "report.html").read_text()
    assert "Holm-corrected within each study" in page
    again = medctx("report", paths[0], paths[0], *options)
    assert again.code == 2 and "two studies called one" in again.err


def test_two_studies_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "same.yaml", tmp_path / "a" / "same.yaml"):
        path.write_text(YAML.format(name="x", method="medcontext"))
    with pytest.raises(UserError, match="two studies called same"):
        report(
            [tmp_path / "same.yaml", tmp_path / "a" / "same.yaml"], results=tmp_path, output=tmp_path / "out"
        )
