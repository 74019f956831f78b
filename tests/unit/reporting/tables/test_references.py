"""Published numbers beside ours, several studies in one report, and the frames on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_results import Fake, case_row, make_cell, make_record, make_study, write_trial
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import UserError
from harness.reporting.references import read_reference
from harness.reporting.write import write_report
from harness.study.combine import combine
from harness.study.expand import load_study
from harness.study.file import ReportSpec, TableSpec, studies_folder
from harness.study.study import Study

SHIPPED = ("synapse_published", "acdc_published")


def synapse_study(results: Path) -> Study:
    """Two seeds of UNETR with a mean Dice of 80 % and 82 %, on the published split."""
    cells = [
        make_cell(dataset="synapse", architecture="unetr", method="supervised", seed=seed) for seed in (0, 1)
    ]
    for cell, dice in zip(cells, (0.80, 0.82), strict=True):
        record = make_record(
            cell, test_cases=[f"img{n:04d}" for n in range(12)], split_rule="transunet_18_12_no_validation",
            training_cases=[f"img{n:04d}" for n in range(20, 38)], convention="released_synapse", patch=[96, 96, 96],
        )  # fmt: skip
        rows = [case_row(f"img{n:04d}", region, dice) for n in range(12) for region in ("Spl", "Pan")]
        write_trial(results, record, rows, [])
    return make_study(cells, name="synapse_study")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_numbers_are_consistent(name: str) -> None:
    """The printed mean is the mean of the printed regions, to the rounding of each."""
    reference = read_reference(name)
    for row in reference.rows:
        regions = [value for region, value in row.dice.items() if region != "mean"]
        assert row.dice["mean"] == pytest.approx(np.mean(regions), abs=0.16), row.name


def test_the_gap_is_ours_less_theirs(tmp_path: Path) -> None:
    study = synapse_study(tmp_path)
    write_report(study, tmp_path, references=["synapse_published"])
    table = pd.read_csv(tmp_path / "synapse_study" / "tables" / "reference_synapse_published.csv")
    ours = table[table["Trained by"] == "this study"].iloc[0]
    assert ours["to †: Gap"] == "+2.65"  # 81.00 − 78.35
    theirs = table[table["Trained by"] == "UNETR†"].iloc[0]
    assert float(theirs["Dice (%): Mean"]) == 78.35 and float(theirs["HD95 (voxel): Mean"]) == 18.59
    assert ours["HD95 (voxel): Mean"] == "–"  # millimetres do not stand under voxels
    assert (theirs["Cost: Parameters (M)"], ours["Cost: Parameters (M)"]) == ("92.49", "9.25")
    assert theirs["Cost: MACs (G)"] == "75.76"


def test_the_fields_that_differ_are_named(tmp_path: Path) -> None:
    study = synapse_study(tmp_path)
    write_report(study, tmp_path, references=["synapse_published"])
    path = tmp_path / "synapse_study" / "tables" / "reference_synapse_published_protocol.csv"
    verdicts = pd.read_csv(path).set_index("Field")["Verdict"].to_dict()
    assert verdicts["patch"] == "differs"  # 96 cubed against 128 x 128 x 64
    assert verdicts["steps"] == "unknown"
    assert not {"test cases", "training cases", "split rule", "convention"} & set(verdicts)


def test_an_unknown_reference_is_refused() -> None:
    with pytest.raises(UserError, match="synapse_published"):
        read_reference("synapse_publishd")


def test_a_reference_of_another_dataset_is_refused(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="numbers on synapse"):
        write_report(fake.study, tmp_path, references=["synapse_published"])


@pytest.mark.parametrize("name", ["reference_synapse_published", "reference_synapse_published_protocol"])
def test_a_declared_table_with_the_name_of_a_reference_is_refused(tmp_path: Path, name: str) -> None:
    declared = ReportSpec(tables=(TableSpec(name=name, rows=("method",)),))
    study = replace(synapse_study(tmp_path), report=declared)
    write_report(study, tmp_path)  # nothing else is called so
    before = (tmp_path / study.name / "tables" / f"{name}.csv").read_text()
    with pytest.raises(UserError, match=rf"table {name} of the report: .*report\.tables.*--reference"):
        write_report(study, tmp_path, references=["synapse_published"])
    assert (tmp_path / study.name / "tables" / f"{name}.csv").read_text() == before


def test_two_references_of_one_name_are_refused(tmp_path: Path) -> None:
    shipped = studies_folder() / "reference" / "synapse_published.yaml"
    with pytest.raises(UserError, match="reference_synapse_published of the report: found two"):
        write_report(synapse_study(tmp_path), tmp_path, references=["synapse_published", str(shipped)])


def test_nothing_of_ours_is_said(tmp_path: Path) -> None:
    study = make_study(
        [make_cell(dataset="synapse", architecture="unetr", method="supervised")], name="later"
    )
    write_report(study, tmp_path, references=["synapse_published"])
    text = (tmp_path / "later" / "tables" / "reference_synapse_published.md").read_text()
    assert "No trial of ours on synapse is complete yet" in text and "78.35" in text


def test_a_reference_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: t\ndataset: d\nsource: s\nunits: {dice: '%'}\nrows: []\nprotocol: {spacng: [1, 1, 1]}\n"
    )
    with pytest.raises(UserError, match="spacing"):
        read_reference(str(path))


def test_frames_are_written_and_join(fake: Fake, fake_page: Path) -> None:
    folder = fake_page.parent
    trials, cases = (pd.read_parquet(folder / f"{name}.parquet") for name in ("trials", "cases"))
    assert list(trials["id"]) == [cell.spec.id for cell in fake.study.cells]
    assert set(trials["shots"]) == {"5", "all"} and trials["split_hash"].dropna().unique() == [
        "5b1175b1175b1175"
    ]
    joined = cases.merge(trials, on="id")
    assert len(joined) == len(cases) and set(joined["status"]) == {"complete"}


def test_studies_combine_without_counting_a_trial_twice(fake: Fake) -> None:
    half = replace(fake.study, name="half", cells=fake.study.cells[:4])
    whole = combine([half, fake.study], "both")
    assert whole.factors == fake.study.factors
    assert [c.spec.id for c in whole.cells] == [c.spec.id for c in fake.study.cells]


def test_trials_that_look_alike_are_told_apart_by_their_study(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(_study(3))
    (tmp_path / "second.yaml").write_text(_study(4))
    first, second = (load_study(str(tmp_path / f"{name}.yaml")) for name in ("first", "second"))
    whole = combine([first, second], "both")
    assert [cell.factors["study"] for cell in whole.cells] == ["first", "second"]
    assert whole.commands == (*first.commands, *second.commands)


def _study(steps: int) -> str:
    base = f"base: {{dataset: phantom, shots: 2, recipe: {{steps: {steps}}}}}\n"
    return (
        f"question: What do {steps} steps do?\n{base}grid: {{architecture: [unet], method: [supervised]}}\n"
    )


def test_the_command_line_wants_a_place_for_several(tmp_path: Path) -> None:
    for name, steps in (("first", 3), ("second", 4)):
        (tmp_path / f"{name}.yaml").write_text(_study(steps))
    names = [str(tmp_path / f"{name}.yaml") for name in ("first", "second")]
    refused = CliRunner().invoke(app, ["report", *names, "--results", str(tmp_path)])
    assert isinstance(refused.exception, UserError) and "--output" in str(refused.exception)
    output = tmp_path / "both"
    done = CliRunner().invoke(app, ["report", *names, "--results", str(tmp_path), "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert "What do 3 steps do? What do 4 steps do?" in (output / "report.html").read_text()


def write_own_reference(folder: Path, **row: object) -> str:
    """Write published numbers of one row; return the path."""
    path = folder / "own.yaml"
    known = {"name": "Theirs", "dice": {"mean": 70.0}, **row}
    path.write_text(
        yaml.safe_dump(
            {"title": "T", "dataset": "synapse", "source": "s", "units": {"dice": "%"}, "rows": [known]}
        )
    )
    return str(path)


def named_arm_study(results: Path) -> Study:
    """One arm that the study calls ``ours``, on a network that it calls ``small``, with a mean Dice of 80 %."""
    cell = make_cell(dataset="synapse", architecture="unetr", method="medcontext")
    rows = [case_row(f"img{n:04d}", "Spl", 0.8) for n in range(12)]
    write_trial(results, make_record(cell, test_cases=[f"img{n:04d}" for n in range(12)]), rows, [])
    return make_study([replace(cell, factors={**cell.factors, "method": "ours", "architecture": "small"})])


@pytest.mark.parametrize(
    "row",
    [{"arm": "ours"}, {"arm": "ours", "architecture": "small"}, {"arm": "ours", "architecture": "unetr"}],
)
def test_a_row_may_name_an_arm_of_the_study(tmp_path: Path, row: dict) -> None:
    study = named_arm_study(tmp_path)
    write_report(study, tmp_path, references=[write_own_reference(tmp_path, **row)])
    table = pd.read_csv(tmp_path / study.name / "tables" / "reference_own.csv")
    assert table[table["Trained by"] == "this study"]["to †: Gap"].tolist() == ["+10.00"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"arm": "our"}, "arm: found unknown name 'our'.*Did you mean 'ours'"),
        ({"architecture": "untr"}, "architecture: found unknown name 'untr'.*Did you mean 'unetr'"),
        ({"architecture": "unetr", "method": "medcontxt"}, "method: .*Did you mean 'medcontext'"),
        ({"arm": "ours", "architecture": "unet"}, "one that ours is trained on. Did you mean 'unetr'"),
    ],
)  # fmt: skip
def test_a_row_that_matches_nothing_is_refused_with_the_nearest(tmp_path: Path, row: dict, said: str) -> None:
    with pytest.raises(UserError, match=f"Theirs: .*{said}"):
        write_report(named_arm_study(tmp_path), tmp_path, references=[write_own_reference(tmp_path, **row)])
