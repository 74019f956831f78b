"""``import harness``: what it offers, what it costs, and what its frames hold."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import harness
from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord, write_cases
from harness.records.store import Store
from harness.study.study import Study

STUDY = """
question: Does the ratio of masking matter?
base: {dataset: phantom, architecture: unet, shots: 2, recipe: {steps: 4}}
grid: {method: [supervised], seed: [0, 1]}
also: [{method: medcontext, method.masking.ratio: [0.2, 0.8], seed: [0, 1]}]
"""
PROGRAM = """
import sys, time
started = time.perf_counter()
import harness
seconds = time.perf_counter() - started
import json
print(json.dumps([seconds, [name for name in ("torch", "ray", "pandas", "monai", "optuna", "scipy") if name in sys.modules]]))
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "ratio.yaml"
    path.write_text(STUDY)
    return harness.load_study(str(path))


@pytest.fixture
def results(study: Study, tmp_path: Path) -> Path:
    """Return a folder with a record of every trial, the last of them failed; Dice is 0.1 times its number."""
    store = Store(tmp_path / "results")
    for number, cell in enumerate(study.cells):
        attempt = store.claim(cell.spec.id, Process.this())
        assert attempt
        cause = Cause(kind="nan", message="the loss is nan") if number == 5 else None
        row = {"region": "lobe", "role": "student", "metric": "dice", "unit": "fraction", "empty": "none"}
        if cause is None:
            values = {"a": 0.1 * number, "b": np.nan}
            write_cases(attempt.folder, [{**row, "case": case, "value": v} for case, v in values.items()])
        status = "failed" if cause else "complete"
        record = TrialRecord(id=cell.spec.id, status=status, kind="train", spec=cell.spec, cause=cause)
        attempt.publish(record)
    return store.results


def test_importing_it_is_cheap_and_brings_no_heavy_package() -> None:
    runs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        seconds, heavy = json.loads(done.stdout)
        assert heavy == []
        runs.append(seconds)
    assert min(runs) < 0.3


def test_what_it_offers_is_there_and_documented() -> None:
    names = (*harness.COMMANDS, "load_study", "Study", "StudyResults", "UserError", "Interrupted")
    for name in names:
        offered = getattr(harness, name)
        assert inspect.getdoc(offered) and name in dir(harness)
        if inspect.isfunction(offered):
            assert offered.__name__ == name and inspect.signature(offered).return_annotation
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        harness.runn  # noqa: B018 - it is what is tested


def test_names_survive_the_import_of_everything_that_they_use(study: Study, results: Path) -> None:
    import harness.reporting.write

    assert callable(harness.report) and callable(harness.run) and callable(harness.results)


def test_a_factor_of_numbers_is_a_numeric_column(study: Study, results: Path) -> None:
    trials = harness.results(study, results=results).trials
    assert trials["method.masking.ratio"].dtype == float
    expected = [np.nan, np.nan, 0.2, 0.2, 0.8, 0.8]
    assert trials["method.masking.ratio"].tolist() == pytest.approx(expected, nan_ok=True)
    assert trials["seed"].tolist() == [0, 1] * 3 and trials["status"].tolist() == ["complete"] * 5 + [
        "failed"
    ]
    assert trials["message"].tolist()[-1] == "the loss is nan"


def test_cases_have_the_factors_beside_their_values(study: Study, results: Path) -> None:
    cases = harness.results(study, results=results).cases
    assert len(cases) == 10 and cases["value"].isna().sum() == 5
    means = cases.groupby("method.masking.ratio", dropna=False)["value"].mean()
    assert means[0.2] == pytest.approx(0.25) and means[0.8] == pytest.approx(0.4)
    assert cases.groupby("method")["value"].mean()["supervised"] == pytest.approx(0.05)


def test_failed_trials_are_named_and_filters_hold(study: Study, results: Path) -> None:
    found = harness.results(study, results=results)
    assert not found.is_complete and [cell.factors["method.masking.ratio"] for cell in found.failed] == [0.8]
    chosen = harness.results(study, results=results, only=["seed=0"])
    assert chosen.is_complete and set(chosen.trials["seed"]) == {0} and set(chosen.cases["seed"]) == {0}


def test_csv_files_say_the_same(study: Study, results: Path, tmp_path: Path) -> None:
    found = harness.results(study, results=results)
    paths = found.write_csv(tmp_path / "for_r")
    assert [path.name for path in paths] == ["trials.csv", "cases.csv"]
    read = pd.read_csv(paths[1])
    assert read["value"].tolist() == pytest.approx(found.cases["value"].tolist(), nan_ok=True)
    assert found.suggestions.empty and "objective" in found.suggestions


def test_status_and_plan_return_what_the_commands_print(study: Study, results: Path) -> None:
    status = harness.status(study, results=results)
    assert status.counts == {
        "planned": 6, "complete": 5, "running": 0, "failed": 1, "pending": 0, "skipped": 0, "pruned": 0
    }  # fmt: skip
    assert [(one.state, one.cause) for one in status.trials] == [("failed", "nan")]
    plan = harness.plan(study, results=results)
    assert [trial["id"] for trial in plan.trials] == [cell.spec.id for cell in study.cells]
    assert plan.forecast(workers=2).lines()[0] == "1 trial to run"


def test_what_is_complete_is_reported_without_ray(study: Study, results: Path) -> None:
    events = []
    found = harness.run(study, results=results, only=["seed=0"], on_progress=events.append)
    assert found.is_complete and found.report is not None and found.report.page.is_file()
    news = [line for event in events for line in event.news]
    assert news == [study.question, "3 trials: 3 done, 0 to run, 0 skipped"]


def test_a_mistake_is_a_user_error(results: Path) -> None:
    with pytest.raises(harness.UserError, match="quickstart"):
        harness.run("quickstrat", results=results)
