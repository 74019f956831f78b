"""Every method trains every architecture: trials of the study ``matrix``, from plan to record.

By default a subset that covers all methods and all architectures; with ``--full-matrix`` all of them.
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from benchmarks.matrix_losses import first_and_last
from pairs import covering

from harness import registry
from harness.data.datasets import phantom
from harness.records.schema import read_history
from harness.study.cells import Cell
from harness.study.expand import load_study
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

STUDY = load_study("matrix")
CELLS = {(str(cell.factors["method"]), str(cell.factors["architecture"])): cell for cell in STUDY.cells}
PAIRS = covering(
    registry.names("method"), registry.names("architecture"), lambda method, name: (method, name) in CELLS
)


def test_the_study_has_every_registered_method_and_architecture() -> None:
    declared = {*CELLS, *((skip.factors["method"], skip.factors["architecture"]) for skip in STUDY.skipped)}
    assert {method for method, _ in declared} == set(registry.names("method"))
    assert {architecture for _, architecture in declared} == set(registry.names("architecture"))
    assert len(declared) == len(registry.names("method")) * len(registry.names("architecture"))


def test_nothing_is_skipped_but_what_a_method_refuses() -> None:
    for skip in STUDY.skipped:
        assert skip.factors["method"] == "sparse_mae" and "patch tokens" in skip.reason


def test_the_default_run_covers_all_methods_and_architectures() -> None:
    assert {method for method, _ in PAIRS} == {method for method, _ in CELLS}
    assert {architecture for _, architecture in PAIRS} == {architecture for _, architecture in CELLS}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(autouse=True)
def few_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave nine patients: five to train on, one to validate and three to test on."""
    monkeypatch.setattr(phantom, "_CASES", 9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id="-".join(pair), marks=[] if pair in PAIRS else pytest.mark.full_matrix)
        for pair, cell in CELLS.items()
    ],
)
def test_a_trial_runs_to_its_record(cell: Cell, results: Path) -> None:
    for one in STUDY.with_nodes([cell]):
        record = run_trial(one.spec, RunSettings(results, keep="none"))
        assert record and record.status == "complete", record and record.cause
        folder = results / "trials" / record.id
        history = list(read_history(folder))
        losses = [line["losses"]["total"] for line in history if "losses" in line]
        assert len(losses) == one.spec.recipe.steps and all(map(math.isfinite, losses))
        if one.spec.kind == "train":
            first, last = first_and_last(history)
            assert last < first, "training does not move"
            rows = pd.read_parquet(folder / "cases.parquet")
            assert "student" in set(rows["role"]) and rows["case"].nunique() == 3
            assert (record.transfer is not None) == (one.spec.pretraining is not None)
