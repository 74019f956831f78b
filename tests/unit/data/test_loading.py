"""Test labels are locked until the selection is frozen."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.loading import LabelsLocked, TrialData, load_data
from harness.spec import TrialSpec


@pytest.fixture(scope="module")
def data(spec: TrialSpec) -> TrialData:
    return load_data(spec, None)


def test_a_trial_sees_its_shots_alone(data: TrialData) -> None:
    assert len(data.training) == 2 and set(data.training) < set(data.split.train)
    parts = [set(data.split.train), set(data.split.validation), set(data.split.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_test_labels_cannot_be_read_before_the_selection_is_frozen(data: TrialData) -> None:
    case = data.split.test[0]
    with pytest.raises(LabelsLocked, match=case):
        data.test_reference(case)
    with pytest.raises(LabelsLocked, match=case):
        data.selection_label(case)
    assert data.selection_label(data.split.validation[0]).any()
    data.freeze()
    assert np.asarray(data.test_reference(case).array).any()


def test_selection_on_test_cases_exists_by_that_name_only(spec: TrialSpec) -> None:
    recipe = spec.recipe.model_copy(update={"selection": "test_oracle", "validate_every": 10})
    data = load_data(spec.model_copy(update={"recipe": recipe}), None)
    assert data.selection_cases == data.split.test and data.selection_label(data.split.test[0]).any()
    with pytest.raises(LabelsLocked):
        data.test_reference(data.split.test[0])
    for selection in ("last", "best_validation"):
        recipe = spec.recipe.model_copy(update={"selection": selection, "validate_every": 10})
        data = load_data(spec.model_copy(update={"recipe": recipe}), None)
        assert data.selection_cases == data.split.validation
