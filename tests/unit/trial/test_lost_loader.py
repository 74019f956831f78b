"""A trial whose loader is killed is put down by the rule of that fault, and goes on to the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from deadly_draw import Deadly

from harness.errors import Interrupted
from harness.records.schema import read_history
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.trial import build
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings


@pytest.fixture
def spec(spec: TrialSpec) -> TrialSpec:
    recipe = spec.recipe.model_copy(update={"steps": 30, "patch": (16, 16, 16)})
    return spec.model_copy(update={"recipe": recipe, "tested": False})


def test_it_goes_on_from_its_checkpoint_to_the_same_bits(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "killed")
    draw = build.training_batches
    monkeypatch.setattr(build, "training_batches", lambda *of: Deadly(draw(*of), tmp_path / "died"))
    settings = RunSettings(store.results, checkpoint_minutes=0.0, loaders=1)
    with pytest.raises(Interrupted, match="a loader has died") as caught:
        run_trial(spec, settings)
    assert caught.value.cause == "loader_lost" and store.status(spec.id) == "pending"
    record, calm = run_trial(spec, settings), run_trial(spec, RunSettings(tmp_path / "calm"))
    assert record and calm and record.status == calm.status == "complete" and record.attempts == 2
    lines = [*read_history(store.trials / spec.id)]
    assert next(line["step"] for line in lines if "resumed" in line) > 0
    expected = [*read_history(tmp_path / "calm" / "trials" / spec.id)]
    assert [line for line in lines if "resumed" not in line] == expected
    assert record.cost and record.cost.seconds_waiting_for_data is not None
    assert 0 < record.cost.seconds_waiting_for_data < record.cost.seconds_training
    assert record.cost.seconds_predicting == 0  # of a search: it is not tested
