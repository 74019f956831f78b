"""What every dataset must declare and give; the list comes from the registry."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.data.datasets.contract import Case, Dataset
from harness.data.layout_twins import write_twin
from harness.data.splits import generate_split
from harness.errors import UserError
from harness.parsing import parse
from harness.spec import Recipe

# those that may be any folder know their labels when they have one: tests/unit/data/test_layouts.py
NAMES = [name for name in registry.names("dataset") if registry.load("dataset", name).folder_layout is None]


def make(name: str) -> Dataset:
    return registry.load("dataset", name)()


@pytest.fixture(scope="module")
def cases_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Case]]:
    """Return the cases of a dataset: the real ones where this machine has them, or those of its layout twin."""

    @cache
    def find(name: str) -> list[Case]:
        root = os.environ.get("MEDCTX_DATA")
        try:
            return make(name).cases(Path(root) if root else None)
        except UserError:
            return make(name).cases(write_twin(name, tmp_path_factory.mktemp(name), cases=2))

    return find


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    dataset = make(name)
    assert dataset.summary and dataset.source and dataset.version >= 1 and dataset.channels
    assert type(dataset).__doc__


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_distinct_bytes_with_a_background(name: str) -> None:
    labels = make(name).labels
    assert 0 in labels and len(labels) > 1
    assert all(isinstance(value, int) and 0 <= value <= 255 for value in labels)
    assert len(set(labels.values())) == len(labels)


@pytest.mark.parametrize("name", NAMES)
def test_regions_are_made_of_declared_labels_and_never_of_background(name: str) -> None:
    dataset = make(name)
    regions = dataset.scored_regions()
    assert regions
    for values in regions.values():
        assert values and set(values) <= set(dataset.labels) - {0}


@pytest.mark.parametrize("name", NAMES)
def test_the_default_recipe_is_complete_and_some_architecture_takes_its_patch(name: str) -> None:
    dataset = make(name)
    for settings in (dataset.recipe, *dataset.pipelines.values()):
        recipe = parse(Recipe, settings, name)
        taken = []
        for architecture in registry.names("architecture"):
            entry = registry.load("architecture", architecture)
            taken.append(entry(entry.resolve({}, architecture)).supports(recipe.patch) is None)
        assert any(taken)


@pytest.mark.parametrize("name", NAMES)
def test_fractions_leave_cases_to_test_on(name: str) -> None:
    fractions = make(name).fractions
    assert fractions.train > 0 and fractions.validation > 0 and fractions.train + fractions.validation < 1


@pytest.mark.parametrize("name", NAMES)
def test_cases_are_sorted_unique_and_enough_to_split(name: str, cases_of: Callable) -> None:
    cases = cases_of(name)
    ids = [case.id for case in cases]
    assert ids == sorted(set(ids))
    assert all(id and Path(id).name == id for id in ids), "an id is a file's name"
    split = generate_split(cases, make(name).fractions, name, 0)
    assert split.train and split.validation and split.test


@pytest.mark.parametrize("name", NAMES)
def test_a_case_loads_with_image_and_labels_on_one_grid(name: str, cases_of: Callable) -> None:
    dataset, cases = make(name), cases_of(name)
    for case in (cases[0], cases[-1]):
        image, label = dataset.image(case), dataset.label(case)
        assert image.array.dtype == np.float32 and label.array.dtype == np.uint8
        assert image.array.shape == (len(dataset.channels), *label.array.shape)
        assert np.isfinite(image.array).all()
        assert set(np.unique(label.array).tolist()) <= set(dataset.labels)
        np.testing.assert_array_equal(image.affine, label.affine)
        assert all(spacing > 0 for spacing in image.spacing)


@pytest.mark.parametrize("name", NAMES)
def test_the_content_of_a_case_is_stable_and_its_own(name: str, cases_of: Callable) -> None:
    dataset, cases = make(name), cases_of(name)
    assert dataset.content(cases[0]) == make(name).content(cases[0]) != dataset.content(cases[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_data_root_is_a_users_error(name: str, tmp_path: Path) -> None:
    dataset = make(name)
    if not dataset.layouts:
        pytest.skip(f"{name} needs no files")
    with pytest.raises(UserError, match="no data root"):
        dataset.cases(None)
    with pytest.raises(UserError, match=dataset.layouts[0].name):
        dataset.cases(tmp_path)


def test_phantom_has_every_organ_in_every_case_and_repeats_its_bits() -> None:
    dataset = make("phantom")
    cases = dataset.cases(None)
    for case in cases:
        label = dataset.label(case).array
        assert set(np.unique(label).tolist()) == set(dataset.labels), case.id
    np.testing.assert_array_equal(dataset.image(cases[3]).array, make("phantom").image(cases[3]).array)
    assert not np.array_equal(dataset.label(cases[3]).array, dataset.label(cases[4]).array)
