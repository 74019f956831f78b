"""Scoring beside predicting: the same record for any number of loaders, bounded memory, and an end for each process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from scores_of_numbers import die, fail, slowly

from harness.errors import TrialFailure
from harness.records.faults import cause_of
from harness.records.schema import read_history
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.trial.run import run_trial
from harness.trial.scoring import Predicted, beside, validation_dice
from harness.trial.settings import RunSettings


def test_a_record_is_the_same_for_any_number_of_loaders(spec: TrialSpec, tmp_path: Path) -> None:
    changes = {
        "steps": 2,
        "patch": (16, 16, 16),
        "overlap": 0.0,
        "validate_every": 1,
        "selection": "best_validation",
    }
    spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update=changes)})
    found = []
    for loaders in (0, 2):
        results = tmp_path / str(loaders)
        record = run_trial(spec, RunSettings(results, loaders=loaders))
        assert record and record.status == "complete", record
        folder = Store(results).trials / spec.id
        predictions = {path.name: path.read_bytes() for path in sorted(folder.glob("predictions/*"))}
        assert record.protocol and len(predictions) >= len(record.protocol.test_cases) > 1
        found.append(((folder / "cases.parquet").read_bytes(), predictions, [*read_history(folder)]))
    assert found[0] == found[1]
    assert any("validation" in line for line in found[0][2])
    assert not active_children()


def test_the_next_case_is_made_while_those_before_are_scored_and_no_more_wait_than_there_are_processes() -> (
    None
):
    taken, lead = 0, []

    def numbers() -> Iterator[int]:
        for number in range(7):
            lead.append(number - taken)
            yield number

    results = []
    with beside(2, 1) as score:
        for result in score(slowly, numbers()):
            taken += 1
            results.append(result)
    assert [number for number, _ in results] == [*range(7)]
    assert len({process for _, process in results}) == 2 and os.getpid() not in {own for _, own in results}
    assert max(lead) == 2
    with beside(0, 1) as score:
        assert {own for _, own in score(slowly, [6, 7])} == {os.getpid()}
    assert not active_children()


@pytest.mark.parametrize("loaders", [0, 1])
def test_what_goes_wrong_names_the_case_and_keeps_its_rule(loaders: int) -> None:
    wrong = Predicted(
        "case_7", np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8), {"a": (1,)}, None
    )
    with pytest.raises(ValueError, match="same shape") as caught, beside(loaders, 1) as score:
        list(score(validation_dice, [wrong]))
    assert "while case case_7 was scored" in cause_of(caught.value).traceback
    with pytest.raises(OSError) as full, beside(loaders, 1) as score:
        list(score(fail, [OSError(errno.ENOSPC, "full")]))
    assert cause_of(full.value).kind == "disk_full"
    assert not active_children()


def test_a_process_that_dies_is_a_fault_with_a_rule() -> None:
    with beside(1, 1) as score, pytest.raises(TrialFailure, match="a loader has died") as caught:
        list(score(die, range(5)))
    assert cause_of(caught.value).kind == "loader_lost"
    assert not active_children()
