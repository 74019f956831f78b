"""``medctx ensemble``: the scores of averaged networks by another way, who may be averaged, and what is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

import harness
from harness import registry
from harness.errors import UserError
from harness.inference import ensembles
from harness.records.damage import write_sums
from harness.records.ensembles import ENSEMBLES, read_ensembles, read_members
from harness.records.schema import write_cases
from harness.reporting.formats.markdown import to_markdown
from harness.reporting.frames import case_frame, ensemble_frame, trial_frame
from harness.reporting.report_data import build_report_data
from harness.reporting.tables.ensembles import ensemble_table
from harness.study.study import Study
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings
from tests.unit.inference.conftest import HOME

BASE = """
question: Do networks gain by being averaged?
base:
  dataset: few_patients:FewPatients
  architecture: unet
  architecture.preset: tiny
  shots: 2
  recipe: {steps: 4, overlap: 0.0, spacing: [1.4, 1.3, 2.5]}
"""
SEEDS = BASE + "grid: {method: [supervised, medcontext], seed: [0, 1]}\nreport: {metrics: [dice, hd95]}\n"
FOLDS = BASE + "grid: {method: [supervised]}\n"


@dataclass(frozen=True)
class Made:
    """A finished study, and its results folder."""

    path: Path
    results: Path

    @property
    def study(self) -> Study:
        return harness.load_study(str(self.path))

    @property
    def file(self) -> Path:
        return self.results / self.path.stem / ENSEMBLES

    def ids(self, method: str) -> list[str]:
        return [cell.spec.id for cell in self.study.cells if cell.factors["method"] == method]

    def copy(self, folder: Path) -> Made:
        return Made(self.path, shutil.copytree(self.results, folder / "results"))

    def average(self, **options: object) -> ensembles.Ensembles:
        return ensembles.make_ensembles(
            self.study, str(options.pop("over", "seed")), str(options.pop("role", "student")),
            self.results, None, "cpu", **options,  # type: ignore[arg-type]
        )  # fmt: skip


def trained(path: Path, text: str, results: Path) -> Made:
    path.write_text(text)
    for cell in harness.load_study(str(path)).cells:
        record = run_trial(cell.spec, RunSettings(results, keep="none"))
        assert record is not None and record.status == "complete", record
    return Made(path, results)


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Two seeds of each of two methods, and their ensembles of students."""
    pytest.MonkeyPatch().syspath_prepend(HOME)
    folder = tmp_path_factory.mktemp("ensembles")
    made = trained(folder / "averaged.yaml", SEEDS, folder / "results")
    made.average()
    return made


@pytest.fixture(autouse=True)
def few_patients_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOME)


def rows_of(made: Made, ids: list[str], role: str = "student") -> pd.DataFrame:
    frame = read_ensembles(made.file.parent)
    assert frame is not None
    own = frame["members"].map(lambda text: {one.id for one in read_members(text)} == {*ids})
    return frame[own & (frame["role"] == role)]


@pytest.mark.parametrize(("method", "role"), [("supervised", "student"), ("medcontext", "teacher")])
def test_the_scores_are_those_of_the_mean_of_the_members_probabilities(
    seeds: Made, tmp_path: Path, method: str, role: str
) -> None:
    """The oracle: each trial's probabilities as 'medctx predict' writes them, their mean's argmax, 'medctx evaluate'."""
    made, ids = seeds.copy(tmp_path), seeds.ids(method)
    if role == "teacher":
        made.average(role=role)
    images, references, averaged = (tmp_path / name for name in ("images", "references", "averaged"))
    dataset = registry.load("dataset", "few_patients:FewPatients")()
    tested = {*rows_of(made, ids, role)["case"]}
    for folder in (images, references, averaged):
        folder.mkdir()
    for case in dataset.cases(None):
        if case.id in tested:
            for folder, volume, kind in (
                (images, dataset.image(case), np.float32),
                (references, dataset.label(case), np.uint8),
            ):
                array = volume.array[0] if folder == images else volume.array
                nibabel.save(
                    nibabel.Nifti1Image(array.astype(kind), volume.affine), folder / f"{case.id}.nii.gz"
                )
    for id in ids:
        harness.predict(
            id, images, tmp_path / id, results=made.results, role=role, probabilities=True, device="cpu"
        )
    for case in tested:
        files = [nibabel.load(tmp_path / id / f"{case}.probabilities.nii.gz") for id in ids]
        mean = sum(np.asanyarray(file.dataobj) for file in files) / len(files)
        labels = mean.argmax(axis=-1).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(labels, files[0].affine), averaged / f"{case}.nii.gz")
    found = harness.evaluate(
        averaged, references, regions=dataset.scored_regions(), workers=1, verify=3, allow_missing_labels=True
    )
    assert not found.problems and found.agrees, found.problems
    oracle = pd.DataFrame(found.rows)
    keys = ["case", "region", "metric"]
    both = rows_of(made, ids, role).merge(oracle, on=keys, suffixes=("", "_oracle"))
    assert len(both) == len(rows_of(made, ids, role)) == 3 * 4 * rows_of(made, ids, role)["metric"].nunique()
    np.testing.assert_allclose(both["value"], both["value_oracle"], rtol=1e-9)
    alone = pd.read_parquet(made.results / "trials" / ids[0] / "cases.parquet")
    alone = rows_of(made, ids, role).merge(alone[alone["role"] == role], on=keys)
    assert (alone["value_x"] != alone["value_y"]).any()  # it is not a member's own


def test_what_is_made_is_kept_and_made_again_where_a_member_has_changed(
    seeds: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = seeds.copy(tmp_path)
    before = made.file.read_bytes()

    def scored(**options: object) -> tuple[ensembles.Ensembles, int]:
        calls, score = [], ensembles._score
        monkeypatch.setattr(ensembles, "_score", lambda job: calls.append(job) or score(job))
        found = made.average(**options)
        monkeypatch.setattr(ensembles, "_score", score)
        return found, len(calls)

    found, calls = scored()
    assert calls == 0 and not found.made and found.kept == ["supervised", "medcontext"]
    assert made.file.read_bytes() == before
    first, second = made.ids("supervised")
    folder = made.results / "trials" / first
    rows = pd.read_parquet(folder / "cases.parquet")
    write_cases(folder, rows.assign(value=rows["value"] * 0.5).to_dict("records"))
    write_sums(folder)
    assert "whose record is another one now" in _table(made)
    found, calls = scored()
    assert (found.made, found.kept, calls) == (["supervised"], ["medcontext"], 3)
    assert "whose record is another one now" not in _table(made)
    shutil.copy(made.results / "trials" / second / "checkpoint.pt", folder / "checkpoint.pt")
    found, calls = scored()
    assert (found.made, calls) == (["supervised"], 3)
    for id in (first, second):
        (made.results / "trials" / id / "checkpoint.pt").unlink()  # as of a record that was taken over
    found, calls = scored()
    assert calls == 0 and found.kept == ["supervised", "medcontext"]


def _table(made: Made) -> str:
    trials = trial_frame(made.study, made.results)
    data = build_report_data(made.study, trials, case_frame(trials, made.results))
    scored = ensemble_frame(made.study, trials, made.results)
    assert isinstance(scored, pd.DataFrame)
    return to_markdown(ensemble_table(data, scored))


def test_a_killed_run_goes_on_with_the_next_case(
    seeds: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, whole = seeds.copy(tmp_path), seeds.file.read_bytes()
    made.file.unlink()
    score, calls = ensembles._score, list[str]()

    def killed(job: ensembles._Job) -> object:
        calls.append(job.case)
        if len(calls) == 5:
            saved = pd.read_parquet(made.file)  # what a process that dies here has left
            assert len(saved[["id", "case"]].drop_duplicates()) == 4
            raise KeyboardInterrupt
        return score(job)

    monkeypatch.setattr(ensembles, "_score", killed)
    monkeypatch.setattr(ensembles, "_SAVE_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        made.average()
    table = _table(made)
    assert "1 ensemble not finished" in table and "Without an ensemble: 1 arm of 2" in table
    monkeypatch.setattr(ensembles, "_score", score)
    found = made.average()
    assert found.made == ["medcontext"] and found.kept == ["supervised"]
    assert made.file.read_bytes() == whole


@pytest.mark.slow
def test_several_processes_give_the_same_bytes(seeds: Made, tmp_path: Path) -> None:
    made = seeds.copy(tmp_path)
    made.file.unlink()
    made.average(workers=2)
    assert made.file.read_bytes() == seeds.file.read_bytes()


def test_an_ensemble_with_a_missing_or_damaged_member_is_named_and_not_made(
    seeds: Made, tmp_path: Path, medctx: Callable
) -> None:
    made, lines = seeds.copy(tmp_path), list[str]()
    made.file.unlink()
    missing, damaged = made.ids("medcontext")
    shutil.rmtree(made.results / "trials" / missing)
    (made.results / "trials" / damaged / "trial.json").write_text("{")
    assert made.average(say=lines.append).made == ["supervised"]
    (said,) = (line for line in lines if line.startswith("not made: medcontext"))
    assert "2 of 2 members not complete" in said
    assert (
        f"seed 0, trial {missing} (pending)" in said
        and f"seed 1, trial {damaged} (trial.json cannot be read" in said
    )
    assert not len(rows_of(made, [missing, damaged])) and len(rows_of(made, made.ids("supervised")))
    for id in made.ids("supervised"):
        (made.results / "trials" / id / "cases.parquet").unlink()
    outcome = medctx("ensemble", made.path, "--results", made.results, "--workers", 1)
    assert outcome.code == 2 and "cases.parquet cannot be read" in outcome.err


def test_damaged_or_removed_weights_are_named(seeds: Made, tmp_path: Path) -> None:
    made = seeds.copy(tmp_path)
    made.file.unlink()
    weights = made.results / "trials" / made.ids("supervised")[1] / "checkpoint.pt"
    weights.write_bytes(weights.read_bytes()[:1000])
    (made.results / "trials" / made.ids("medcontext")[0] / "checkpoint.pt").unlink()
    problems = made.average().problems
    assert str(weights) in str(problems["supervised"]) and "no weights" in str(problems["medcontext"])
    assert not made.file.exists()  # so that a published one can still be taken over


def test_the_report_shows_ensembles_beside_their_members(
    seeds: Made, tmp_path: Path, medctx: Callable
) -> None:
    made = seeds.copy(tmp_path)
    command = ("ensemble", made.path, "--results", made.results, "--role", "teacher", "--workers", 1)
    outcome = medctx(*command)
    assert (
        outcome.code == 1 and "made: medcontext" in outcome.out
    )  # and not of supervised training, which has no teacher
    assert "not made: supervised" in outcome.out and "found no teacher" in outcome.out
    folder = made.results / "averaged"
    found = pd.read_csv(folder / "tables" / "ensembles.csv").set_index(["method", "role", "metric", "region"])
    dice = pd.read_csv(folder / "tables" / "dice.csv").set_index(["method", "role", "region"])
    for method, role in (("supervised", "student"), ("medcontext", "student"), ("medcontext", "teacher")):
        own = rows_of(made, made.ids(method), role)
        row = found.loc[(method, role, "dice", "mean")]
        mean = own[own["metric"] == "dice"].groupby("region")["value"].mean().mean()
        assert row["value"] == pytest.approx(mean, abs=1e-12)
        assert row["value_members"] == pytest.approx(dice.loc[(method, role, "mean"), "mean"], abs=1e-12)
    text = (folder / "tables" / "ensembles.md").read_text()
    assert "2 seeds" in text and "HD95 (mm)" in text and "not tested" in text
    assert "Ensembles: the mean of several networks" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_published_ensembles_are_taken_over(seeds: Made, tmp_path: Path) -> None:
    made, there = seeds.copy(tmp_path), tmp_path / "there"
    published = harness.publish(made.study, results=made.results)
    assert (published.folder / "records" / ENSEMBLES).is_file()
    shutil.copytree(made.results / "published", there / "published")
    found = harness.ensemble(made.study, results=there, device="cpu", workers=1)
    assert found.kept == ("supervised", "medcontext") and not found.made and not found.problems
    assert (there / "averaged" / "tables" / "ensembles.csv").read_bytes() == (
        made.results / "averaged" / "tables" / "ensembles.csv"
    ).read_bytes()


def test_a_datasets_own_tolerances_are_kept_to(
    seeds: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The members' records say by which metrics they were scored; with 1 mm for all regions nsd@region is nsd@1."""
    made = seeds.copy(tmp_path)
    made.file.unlink()
    dataset = registry.load("dataset", "few_patients:FewPatients")
    monkeypatch.setattr(dataset, "tolerances", dict.fromkeys(dataset().scored_regions(), 1.0))
    for id in made.ids("supervised"):
        folder = made.results / "trials" / id
        rows = pd.read_parquet(folder / "cases.parquet")
        own = rows[rows["metric"] == "nsd@1"].assign(metric="nsd@region")
        write_cases(folder, pd.concat([rows, own]).to_dict("records"))
        write_sums(folder)
    made.average()
    rows = rows_of(made, made.ids("supervised"))
    values = {m: rows[rows["metric"] == m]["value"].to_numpy() for m in ("nsd@1", "nsd@region")}
    np.testing.assert_array_equal(values["nsd@1"], values["nsd@region"])
    assert len(values["nsd@1"])


def test_folds_are_averaged_only_on_cases_that_all_of_them_test(tmp_path: Path) -> None:
    ids = [case.id for case in registry.load("dataset", "few_patients:FewPatients")().cases(None)]
    test, rest = ids[:2], ids[2:]
    folds = [
        {"train": rest[2:], "validation": rest[:2], "test": test},
        {"train": rest[:-2], "validation": rest[-2:], "test": test},
    ]
    (tmp_path / "fixed.json").write_text(json.dumps(folds))
    made = trained(
        tmp_path / "fixed.yaml",
        FOLDS.replace("shots: 2", "shots: all\n  split: {file: fixed.json}"),
        tmp_path / "results",
    )
    found = made.average(over="fold")
    assert found.made == ["supervised"]
    rows = rows_of(made, made.ids("supervised"))
    assert {*rows["case"]} == {*test} and {*rows["over"]} == {"fold"}
    assert "2 folds" in _table(made)

    crossed = trained(
        tmp_path / "crossed.yaml", FOLDS.replace("shots: 2", "shots: all\n  split: {folds: 2}"), made.results
    )
    with pytest.raises(UserError, match=r"test different cases \(0 tested by all\)"):
        crossed.average(over="fold")
    with pytest.raises(UserError, match="found one seed"):
        crossed.average()
    with pytest.raises(UserError, match="seed or fold"):
        crossed.average(over="shots")
