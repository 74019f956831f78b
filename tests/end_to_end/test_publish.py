"""``medctx publish``, and a run that takes over what was published."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.records.contents import keep_contents
from harness.spec import digest

pytestmark = pytest.mark.usefixtures("few_patients")

STUDY = """
question: Is what is published believed?
base: {dataset: "few_patients:FewPatients", architecture: unet, shots: 2, method: supervised, recipe: {steps: 2, overlap: 0.0}}
grid: {seed: [0]}
"""


def test_a_run_goes_on_from_what_was_published(medctx: Callable, tmp_path: Path) -> None:
    study, results = tmp_path / "believed.yaml", tmp_path / "results"
    study.write_text(STUDY)
    (entry,) = json.loads(medctx("plan", study, "--json").out)["trials"]
    assert medctx("trial", study, entry["id"], "--results", results).code == 0
    outcome = medctx("publish", study, "--results", results)
    assert outcome.code == 0 and "published/believed" in outcome.out
    table = (results / "published" / "believed" / "tables" / "dice.csv").read_text()
    shutil.rmtree(results / "trials")
    shutil.rmtree(results / "believed")

    outcome = medctx("run", study, "--results", results)
    assert outcome.code == 0, outcome.err
    assert "1 trial taken from" in outcome.out and "1 trial: 1 done, 0 to run" in outcome.out
    assert (results / "believed" / "tables" / "dice.csv").read_text() == table
    assert not (results / "trials" / entry["id"] / "checkpoint.pt").exists()


def test_a_run_trains_again_what_was_published_from_other_data(
    medctx: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = tmp_path / "believed.yaml", tmp_path / "results"
    study.write_text(STUDY)
    (entry,) = json.loads(medctx("plan", study, "--json").out)["trials"]
    medctx("trial", study, entry["id"], "--results", results)
    medctx("publish", study, "--results", results)
    shutil.rmtree(results / "trials")
    path = results / "published" / "believed" / "records" / "trials.jsonl.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    monkeypatch.setattr("harness.sweep.ray_tune.sweep", lambda work, *arguments, **settings: list(work))
    study.write_text(STUDY.replace("seed: [0]", "seed: [0, 1]"))
    outcome = medctx("run", study, "--results", results)
    assert "1 trial taken from" in outcome.out and "2 trials: 1 done, 1 to run" in outcome.out

    shutil.rmtree(results / "trials")
    content = json.loads(text)["record"]["protocol"]["content_hash"]
    contents = json.loads((path.parent / "contents" / f"{content}.json").read_text())
    case, *_ = contents
    other = contents | {case: "0123456789abcdef"}
    keep_contents(path.parent / "contents", other)
    for found, said in {
        digest(other): f"1 case ({case}) with other files",
        "0" * 16: "which cases differ is not known",
    }.items():
        path.write_bytes(gzip.compress(text.replace(content, found).encode()))
        outcome = medctx("run", study, "--results", results)
        assert f"1 published trial made from other data than are here ({said}" in outcome.out
        assert "2 trials: 0 done, 2 to run" in outcome.out


def test_what_was_published_is_planned_counted_and_reported_as_complete(
    medctx: Callable, tmp_path: Path
) -> None:
    study, results = tmp_path / "believed.yaml", tmp_path / "results"
    study.write_text(STUDY)
    (entry,) = json.loads(medctx("plan", study, "--json").out)["trials"]
    empty = medctx("report", study, "--results", results)
    assert empty.code == 0 and "no trial of believed is complete" in empty.out
    refused = medctx("report", study, "--results", results, "--output", study)
    assert refused.code == 2 and f"--output {study}: found" in refused.err
    assert "1 trial to run\n" in medctx("plan", study, "--results", results).out
    assert medctx("trial", study, entry["id"], "--results", results).code == 0
    medctx("publish", study, "--results", results)
    shutil.rmtree(results / "trials")

    shown = medctx("plan", study, "--results", results).out
    assert "1 published: 'medctx run believed' takes it over" in shown and "0 trials to run" in shown
    assert (
        "1 complete" in (said := medctx("status", study, "--results", results).out) and "1 published" in said
    )
    counts = json.loads(medctx("status", study, "--results", results, "--json").out)
    assert (counts["planned"], counts["complete"], counts["pending"]) == (1, 1, 0)
    assert not (results / "trials").exists(), "looking writes nothing"

    outcome = medctx("report", study, "--results", results)
    assert outcome.code == 0 and "1 trial taken from" in outcome.out and "is complete" not in outcome.out
    assert entry["id"] in (results / "believed" / "report.html").read_text()
    assert "1 published" not in medctx("status", study, "--results", results).out


def test_trials_that_were_run_again_are_compared_score_by_score(medctx: Callable, tmp_path: Path) -> None:
    study, first, again = tmp_path / "believed.yaml", tmp_path / "first", tmp_path / "again"
    study.write_text(STUDY)
    (entry,) = json.loads(medctx("plan", study, "--json").out)["trials"]
    assert medctx("trial", study, entry["id"], "--results", first).code == 0
    medctx("publish", study, "--results", first)
    shutil.copytree(first / "published" / "believed", first / "published" / "other")
    arguments = ("compare", study, "--results", again, "--with", first)
    outcome = medctx(*arguments)
    assert outcome.code == 2 and "a trial that was run twice" in outcome.err

    assert medctx("trial", study, entry["id"], "--results", again).code == 0
    outcome = medctx(*arguments)
    assert outcome.code == 0 and "1 of 1 trials in both folders, 1 the same in every bit" in outcome.out

    path = again / "trials" / entry["id"] / "cases.parquet"
    rows = pd.read_parquet(path)
    rows.loc[rows.index[0], "value"] += 0.01
    rows.to_parquet(path)
    outcome = medctx(*arguments)
    assert outcome.code == 1 and f"1 of {len(rows)} scores differ" in outcome.out
    assert medctx(*arguments, "--tolerance", "0.1").code == 0
    rows.iloc[:-1].to_parquet(path)
    outcome = medctx(*arguments, "--tolerance", "0.1")
    assert outcome.code == 1 and "1 of them in one folder alone" in outcome.out
    assert medctx("compare", study, "--results", again, "--with", again).code == 2
