"""``medctx rescore``: one set of predictions by several conventions, from trials to the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from harness import registry
from harness.commands.arguments import study_of
from harness.evaluation import rescoring
from harness.evaluation.conventions import HARNESS
from harness.evaluation.metrics import score_case
from harness.evaluation.summary import OVER_REGIONS, summarise
from harness.records.damage import write_sums
from harness.records.schema import write_cases

STUDY = """
question: Is the convention told?
base: {dataset: phantom, architecture: unet, shots: 2, recipe: {steps: 2, overlap: 0.0}}
grid: {method: [supervised, masked_supervised]}
keep: KEEP
"""


@pytest.mark.slow
def test_predictions_are_scored_again_by_every_convention(
    medctx: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = tmp_path / "told.yaml", tmp_path / "results"
    study.write_text(STUDY.replace("KEEP", "all"))
    plan = [line.split()[0] for line in medctx("plan", study).out.splitlines()[2:4]]
    for id in plan:
        assert medctx("trial", study, id, "--results", results).code == 0
    first = next((results / "trials" / plan[0] / "predictions").glob("*.student.nii.gz"))
    with_all_organs_missed(first)
    outcome = medctx("rescore", study, "--results", results, "--workers", "1")
    assert outcome.code == 2 and str(first) in outcome.err and "as the record has it" in outcome.err
    record_as_scored(first)

    outcome = medctx("rescore", study, "--results", results, "--workers", "1")
    assert outcome.code == 0, outcome.err
    found = pd.read_parquet(results / "told" / "conventions.parquet").set_index(["id", "variant", "metric"])[
        "value"
    ]
    rows = pd.read_parquet(results / "trials" / plan[1] / "cases.parquet")
    rows = rows[rows["role"] == "student"].to_dict("records")
    for one in summarise(rows, HARNESS):  # what the trial itself recorded
        if one.region == OVER_REGIONS and one.metric in ("dice", "hd95"):
            assert found[plan[1], "harness", one.metric] == pytest.approx(one.mean, abs=1e-12)
    assert found[plan[0], "zero for empty", "hd95"] < found[plan[0], "harness", "hd95"]
    assert found[plan[0], "misses left out", "hd95"] < found[plan[0], "harness", "hd95"]
    assert found[plan[0], "misses left out", "dice"] == found[plan[0], "harness", "dice"]
    assert found[plan[0], "zero for empty", "dice"] == found[plan[0], "harness", "dice"]
    page = (results / "told" / "report.html").read_text()
    assert "One set of predictions by several conventions" in page

    with monkeypatch.context() as patch:
        patch.setattr(rescoring, "_score_all", None)  # what has been scored is not scored again
        kept = rescoring.rescore(study_of(str(study), None), results, None)
    pd.testing.assert_series_equal(kept.set_index(["id", "variant", "metric"])["value"], found)
    scored = kept[kept["id"] == plan[1]].set_index(["variant", "metric"])["value"]
    (results / "told" / "conventions.parquet").unlink()
    kept[kept["id"] == plan[0]].to_parquet(results / "told" / "conventions.parquet")  # one is missing
    rest = rescoring.rescore(study_of(str(study), None), results, None)
    assert list(rest["id"].unique()) == plan[:2]
    pd.testing.assert_series_equal(
        rest[rest["id"] == plan[1]].set_index(["variant", "metric"])["value"], scored
    )

    shutil.rmtree(results / "trials" / plan[0] / "predictions")  # as of a published trial
    assert medctx("rescore", study, "--results", results, "--workers", "1").code == 0
    again = pd.read_parquet(results / "told" / "conventions.parquet").set_index(["id", "variant", "metric"])
    pd.testing.assert_series_equal(again["value"].sort_index(), found.sort_index())
    assert (results / "told" / "tables" / "conventions.tex").is_file()


def with_all_organs_missed(prediction: Path) -> None:
    image = nibabel.load(prediction)
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), prediction)


def record_as_scored(prediction: Path) -> None:
    """Write what an empty prediction is scored by into the trial's record."""
    dataset, id = registry.load("dataset", "phantom")(), prediction.name.split(".")[0]
    reference = next(dataset.label(case) for case in dataset.cases(None) if case.id == id)
    empty = np.zeros_like(reference.array)
    scored = score_case(empty, reference.array, reference.spacing, dataset.scored_regions())
    trial = prediction.parent.parent
    rows = pd.read_parquet(trial / "cases.parquet")
    others = rows[(rows["case"] != id) | (rows["role"] != "student")].to_dict("records")
    write_cases(trial, [*others, *({"case": id, "role": "student", **row} for row in scored)])
    write_sums(trial)


def test_a_study_without_predictions_is_told(medctx: Callable, tmp_path: Path) -> None:
    study = tmp_path / "told.yaml"
    study.write_text(STUDY.replace("KEEP", "none"))
    outcome = medctx("rescore", study, "--results", tmp_path / "results")
    assert outcome.code == 2 and "no complete trial with predictions" in outcome.err
    assert "Remove 'keep: none'" in outcome.err
    study.write_text(STUDY.replace("KEEP", "all"))
    outcome = medctx("rescore", study, "--results", tmp_path / "results")
    for command in ("run", "rescore"):
        assert f"'medctx {command} {study} --results NEW'" in outcome.err
    assert outcome.code == 2 and "keep:" not in outcome.err
