from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from harness.data.datasets.contract import Case
from harness.data.datasets.phantom import Phantom
from harness.data.splits import few_shot_cases, generate_split
from harness.spec import Recipe

DATASET = Phantom()
CASES = DATASET.cases(None)
ORGANS = {"lobe": 1, "duct": 2, "node": 3, "twin": 4}


@pytest.fixture(scope="module")
def labels() -> dict[str, np.ndarray]:
    return {case.id: DATASET.label(case).array for case in CASES}


def digest_of(case: Case) -> str:
    image, label = DATASET.image(case).array, DATASET.label(case).array
    return hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest()


def test_cases_are_sorted_unique_and_without_files() -> None:
    ids = [case.id for case in CASES]
    assert ids == sorted(set(ids)) and ids[0] == "phantom_001"
    assert all(case.patient == case.id and case.image is None and case.label is None for case in CASES)


def test_same_bits_whenever_and_in_whatever_order_a_case_is_generated() -> None:
    first = {case.id: digest_of(case) for case in CASES[:4]}
    np.random.seed(7)  # noqa: NPY002 - the global generator must not matter
    assert {case.id: digest_of(case) for case in reversed(CASES[:4])} == first
    assert len(set(first.values())) == 4


def test_image_and_label_are_on_one_anisotropic_grid() -> None:
    image, label = DATASET.image(CASES[0]), DATASET.label(CASES[0])
    assert image.array.shape == (1, 40, 40, 24) and image.array.dtype == np.float32
    assert label.array.shape == (40, 40, 24) and label.array.dtype == np.uint8
    assert np.array_equal(image.affine, label.affine)
    assert image.spacing == label.spacing == (1.0, 1.0, 2.0)


def test_images_are_finite_whole_numbers() -> None:
    for case in CASES[:10]:
        image = DATASET.image(case).array
        assert np.isfinite(image).all() and np.array_equal(image, np.round(image))


def test_every_organ_is_in_every_case(labels: dict[str, np.ndarray]) -> None:
    for id, label in labels.items():
        voxels = np.bincount(label.ravel(), minlength=5)
        assert len(voxels) == 5 and (voxels[1:] > 150).all(), id


def test_sides_are_consistent(labels: dict[str, np.ndarray]) -> None:
    for id, label in labels.items():
        centre = {name: np.argwhere(label == value).mean(axis=0) for name, value in ORGANS.items()}
        assert centre["lobe"][0] < centre["twin"][0], id
        assert centre["duct"][1] < centre["lobe"][1], id
        assert centre["node"][2] < centre["lobe"][2], id


def test_content_differs_between_cases_and_versions() -> None:
    class Later(Phantom):
        version = Phantom.version + 1

    assert len({DATASET.content(case) for case in CASES}) == len(CASES)
    assert Later().content(CASES[0]) != DATASET.content(CASES[0])
    assert not np.array_equal(Later().image(CASES[0]).array, DATASET.image(CASES[0]).array)


def test_recipe_needs_no_resampling_and_fits_the_architectures() -> None:
    recipe = Recipe(**DATASET.recipe)
    assert recipe.spacing == DATASET.image(CASES[0]).spacing
    assert all(side % 16 == 0 for side in recipe.patch)
    assert recipe.augmentation.mirror_axes == ()


def test_split_sizes_and_nested_few_shot_subsets() -> None:
    split = generate_split(CASES, DATASET.fractions, "phantom", seed=0)
    assert (len(split.train), len(split.validation), len(split.test)) == (32, 6, 22)
    subsets = [
        set(few_shot_cases(split, CASES, shots, "phantom", subset=0)) for shots in (1, 2, 8, 32, "all")
    ]
    assert [len(subset) for subset in subsets] == [1, 2, 8, 32, 32]
    assert all(small <= large for small, large in pairwise(subsets))
