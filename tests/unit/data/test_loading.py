"""Test labels are locked until the selection is frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.data.patches import PatchSampler
from harness.data.preprocessing import LabelsLocked
from harness.data.trial_data import TrialData, load_trial_data
from harness.spec import TrialSpec
from harness.training.loop import Trainer
from harness.trial.fitting import Fitting
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings


@pytest.fixture(scope="module")
def data(spec: TrialSpec) -> TrialData:
    return load_trial_data(spec, None)


def test_a_trial_sees_its_shots_alone(data: TrialData) -> None:
    assert len(data.training) == 2 and set(data.training) < set(data.split.train)
    parts = [set(data.split.train), set(data.split.validation), set(data.split.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_which_cases_are_labelled_depends_on_the_draw_and_not_on_the_seed(spec: TrialSpec) -> None:
    def training(**changes: int) -> tuple[str, ...]:
        return load_trial_data(spec.model_copy(update=changes), None).training

    assert training(seed=1) == training(seed=2) == training()
    assert len({training(subset=draw) for draw in range(5)}) > 1
    assert set(training(subset=1, shots=5)) > set(training(subset=1, shots=2, seed=9))


def test_test_labels_cannot_be_read_before_the_selection_is_frozen(data: TrialData) -> None:
    case = data.split.test[0]
    with pytest.raises(LabelsLocked, match=case):
        data.test_reference(case)
    with pytest.raises(LabelsLocked, match=case):
        data.selection_label(case)
    assert data.selection_label(data.split.validation[0]).any()
    data.freeze()
    assert np.asarray(data.test_reference(case).array).any()


@pytest.mark.parametrize("fold", [0, 3])
def test_the_test_labels_of_each_fold_are_locked_and_no_others(spec: TrialSpec, fold: int) -> None:
    split = spec.dataset.model_copy(update={"split_folds": 4, "split_fold": fold})
    data = load_trial_data(spec.model_copy(update={"dataset": split, "shots": "all"}), None)
    assert len(data.split.test) == 15 and not {*data.split.test} & {*data.training, *data.split.validation}
    for read in attempts(data):
        for case in data.split.test:
            with pytest.raises(LabelsLocked):
                read(case)
    assert data._cache.label(data.training[0]).any() and data.selection_label(data.split.validation[0]).any()


def attempts(data: TrialData) -> Iterator[Callable[[str], object]]:
    """Yield every way to the labels of a case."""
    yield data.test_reference
    yield data.selection_label
    yield data._cache.label
    yield data._cache.foreground
    yield data._cache.native_reference
    yield lambda case: PatchSampler(data._cache, [case], data._spec.recipe, 0)


def test_while_a_trial_trains_and_selects_no_way_leads_to_test_labels(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = spec.recipe.model_copy(
        update={"steps": 2, "batch": 1, "selection": "best_validation", "validate_every": 1, "overlap": 0.0}
    )
    trial = spec.model_copy(update={"recipe": recipe})
    known: list[TrialData] = []
    tried: Counter[str] = Counter()

    def loading(*arguments: object) -> TrialData:
        known.append(load_trial_data(*arguments))  # type: ignore[arg-type]
        return known[-1]

    def trying(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def around(*arguments: object, **options: object) -> object:
            (data,) = known
            for case in data.split.test:
                for attempt in attempts(data):
                    with pytest.raises(LabelsLocked, match=case):
                        attempt(case)
                    tried[name] += 1
            assert not list(tmp_path.rglob("cases.parquet")), "scores are written before the selection"
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, around)

    monkeypatch.setattr("harness.trial.run.load_trial_data", loading)
    for owner, name in ((Trainer, "_update"), (Fitting, "_validate"), (Fitting, "select")):
        trying(owner, name)
    record = run_trial(trial, RunSettings(tmp_path))
    assert record is not None and record.status == "complete", record and record.cause
    ways = 6 * len(known[0].split.test)
    assert tried == {"_update": 2 * ways, "_validate": 2 * ways, "select": ways}
    rows = pd.read_parquet(tmp_path / "trials" / record.id / "cases.parquet")
    assert set(rows["case"]) == set(known[0].split.test)


def test_selection_on_test_cases_exists_by_that_name_only(spec: TrialSpec) -> None:
    recipe = spec.recipe.model_copy(update={"selection": "test_oracle", "validate_every": 10})
    data = load_trial_data(spec.model_copy(update={"recipe": recipe}), None)
    assert data.selection_cases == data.split.test and data.selection_label(data.split.test[0]).any()
    with pytest.raises(LabelsLocked):
        data.test_reference(data.split.test[0])
    for selection in ("last", "best_validation"):
        recipe = spec.recipe.model_copy(update={"selection": selection, "validate_every": 10})
        data = load_trial_data(spec.model_copy(update={"recipe": recipe}), None)
        assert data.selection_cases == data.split.validation
