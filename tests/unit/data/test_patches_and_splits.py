from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.augmentation import Augmenter
from harness.data.datasets.contract import Case, Fractions
from harness.data.patches import PatchSampler
from harness.data.splits import Split, few_shot, generate_split
from harness.data.turns import draw_turn
from harness.errors import UserError
from harness.spec import Augmentation, Recipe


class FakeCache:
    """Volumes whose image holds, at each voxel, the number of the case and of the voxel."""

    def __init__(self, labels: dict[str, NDArray[np.uint8]]) -> None:
        self.labels = labels

    def image(self, case: str) -> NDArray[np.float32]:
        label = self.labels[case]
        index = np.arange(label.size, dtype=np.float32).reshape(label.shape)
        return np.stack([np.full(label.shape, float(case), np.float32), index + 1])

    def label(self, case: str) -> NDArray[np.uint8]:
        return self.labels[case]

    def foreground(self, case: str) -> NDArray[np.int32]:
        points = np.argwhere(self.labels[case])
        values = self.labels[case][tuple(points.T)]
        return np.column_stack([values, points])[np.argsort(values, kind="stable")].astype(np.int32)


def volume(shape: tuple[int, int, int], **labelled: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a label map with one voxel of each label, such as ``l2=(0, 1, 1)``."""
    labels = np.zeros(shape, np.uint8)
    for name, place in labelled.items():
        labels[place] = int(name[1:])
    return labels


def sampler(labels: dict[str, NDArray[np.uint8]], seed: int = 0, **settings: Any) -> PatchSampler:
    recipe = Recipe(**{"patch": (8, 8, 8), "spacing": (1, 1, 1), "batch": 2, **settings})
    return PatchSampler(FakeCache(labels), list(labels), recipe, seed)  # type: ignore[arg-type]


MANY = {str(n): volume((20, 16, 12), l1=(n, 2, 2), l2=(n, 9, 7)) for n in range(1, 6)}


def test_a_draw_is_a_function_of_seed_and_step_alone() -> None:
    one, other = sampler(MANY), sampler(MANY)
    forwards = [one.draw(step) for step in range(6)]
    backwards = [other.draw(step) for step in reversed(range(6))][::-1]
    for (image, label), (again, label_again) in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(label, label_again)
    assert not np.array_equal(forwards[0][0], forwards[1][0])
    assert not np.array_equal(forwards[0][0], sampler(MANY, seed=1).draw(0)[0])


def test_shapes_types_and_voxels_come_from_one_case() -> None:
    images, labels = sampler(MANY).draw(3)
    assert images.shape == (2, 2, 8, 8, 8) and images.dtype == np.float32
    assert labels.shape == (2, 1, 8, 8, 8) and labels.dtype == np.uint8
    for image, label in zip(images, labels, strict=True):
        (case,) = np.unique(image[0])
        places = image[1].astype(int) - 1  # where in the volume each voxel was
        np.testing.assert_array_equal(MANY[str(int(case))].ravel()[places], label[0])


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_every_case_is_used_equally_often_in_an_epoch_and_in_a_new_order(batch: int) -> None:
    draws = sampler(MANY, batch=batch)
    steps = 5 * 20 // batch
    used = [int(image[0, 0, 0, 0]) for step in range(steps) for image in draws.draw(step)[0]]
    epochs = [tuple(used[start : start + 5]) for start in range(0, 100, 5)]
    assert all(sorted(epoch) == [1, 2, 3, 4, 5] for epoch in epochs)
    assert len(set(epochs)) > 10


def test_the_share_of_patches_on_foreground_is_that_of_the_recipe() -> None:
    far = {"1": volume((64, 64, 64), l1=(30, 33, 31))}
    for share, low, high in ((0.0, 0.0, 0.02), (0.33, 0.28, 0.38), (1.0, 1.0, 1.0)):
        draws = sampler(far, batch=50, foreground=share)
        found = [label.any() for step in range(20) for label in draws.draw(step)[1]]
        assert low <= np.mean(found) <= high


def test_foreground_labels_are_drawn_evenly_however_small() -> None:
    labels = volume((40, 40, 40), l2=(35, 35, 35))
    labels[2:10, 2:10, 2:10] = 1
    draws = sampler({"1": labels}, batch=50, foreground=1.0)
    found = Counter(int(label.max()) for step in range(20) for label in draws.draw(step)[1])
    assert set(found) == {1, 2} and 0.44 < found[2] / 1000 < 0.56


def test_a_patch_on_foreground_is_centred_where_the_volume_allows_it() -> None:
    inner = sampler({"1": volume((30, 30, 30), l1=(15, 12, 20))}, foreground=1.0).draw(0)[1][0, 0]
    np.testing.assert_array_equal(np.argwhere(inner), [[4, 4, 4]])
    corner = sampler({"1": volume((30, 30, 30), l1=(29, 0, 29))}, foreground=1.0).draw(0)[1][0, 0]
    np.testing.assert_array_equal(np.argwhere(corner), [[7, 0, 7]])


def test_random_patches_reach_every_place_of_a_volume() -> None:
    draws = sampler({"1": volume((10, 9, 8))}, batch=50, foreground=0.5)
    starts = {int(image[1, 0, 0, 0]) - 1 for step in range(10) for image in draws.draw(step)[0]}
    assert starts == {x * 72 + y * 8 for x in range(3) for y in range(2)}


def test_a_small_volume_lies_whole_in_the_patch_at_a_random_place_with_zeros_around() -> None:
    small = volume((5, 12, 3), l1=(2, 6, 1))
    places = set()
    for step in range(40):
        image, label = (array[0] for array in sampler({"1": small}, foreground=0.5).draw(step))
        inside = np.argwhere(image[0])
        low, high = inside.min(axis=0), inside.max(axis=0) + 1
        np.testing.assert_array_equal(high - low, [5, 8, 3])
        assert not np.delete(image, np.s_[low[0] : high[0]], axis=1).any()
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        voxels = image[1][box].astype(int) - 1
        np.testing.assert_array_equal(small.ravel()[voxels], label[0][box])
        assert label.sum() == small.ravel()[voxels].sum()
        places.add((low[0], low[2]))
    assert len(places) > 10 and {x for x, _ in places} == {0, 1, 2, 3}


def test_a_draw_can_be_changed_without_changing_the_cache() -> None:
    draws = sampler({"1": volume((8, 8, 8), l1=(1, 1, 1))}, batch=1)
    image, label = draws.draw(0)
    image[:], label[:] = -1, 9
    assert (draws.draw(0)[0] >= 0).all() and draws.draw(0)[1].max() == 1


# Splits


@st.composite
def patients(draw: st.DrawFn) -> list[Case]:
    """Draw cases of 3 to 30 patients, each with one to three cases."""
    count = draw(st.integers(3, 30))
    frames = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    return [Case(f"p{p:02d}_{f}", f"p{p:02d}") for p in range(count) for f in range(frames[p])]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    cases=patients(), seed=st.integers(0, 2**31), train=st.floats(0.05, 0.9), validation=st.floats(0.01, 0.5)
)
def test_a_split_is_disjoint_by_patient_and_complete(
    cases: list[Case], seed: int, train: float, validation: float
) -> None:
    split = generate_split(cases, Fractions(train, validation), "any", seed)
    parts = [split.train, split.validation, split.test]
    assert sorted(id for part in parts for id in part) == sorted(case.id for case in cases)
    patient_of = {case.id: case.patient for case in cases}
    owners = [{patient_of[id] for id in part} for part in parts]
    assert all(owners) and sum(map(len, owners)) == len(set(patient_of.values()))
    assert split == generate_split(cases[::-1], Fractions(train, validation), "any", seed)


SPLIT = Split(tuple(f"p{n:02d}_{f}" for n in range(12) for f in (0, 1)), ("p20_0",), ("p21_0",), "by hand")
CASES = [Case(id, id.partition("_")[0]) for id in (*SPLIT.train, *SPLIT.validation, *SPLIT.test)]


def test_a_split_depends_on_dataset_and_seed_and_its_hash_tells() -> None:
    fractions = Fractions(0.6, 0.1)
    splits = [generate_split(CASES, fractions, name, seed) for name, seed in (("a", 0), ("a", 1), ("b", 0))]
    assert len({split.hash for split in splits}) == 3
    assert splits[0].hash == generate_split(CASES, fractions, "a", 0).hash
    assert len(splits[0].train) == round(0.6 * 14) * 2 - sum(
        id.startswith(("p20", "p21")) for id in splits[0].train
    )


def test_two_patients_cannot_be_split() -> None:
    with pytest.raises(UserError, match="2 patient"):
        generate_split([Case("a1", "a"), Case("a2", "a"), Case("b", "b")], Fractions(0.5, 0.2), "any", 0)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(subset=st.integers(0, 1000))
def test_few_shot_subsets_are_nested_and_take_a_patient_before_the_next(subset: int) -> None:
    chosen = [few_shot(SPLIT, CASES, shots, "any", subset) for shots in range(1, 25)]
    for shots, (smaller, larger) in enumerate(pairwise(chosen), start=1):
        assert len(smaller) == len(set(smaller)) == shots
        assert set(smaller) < set(larger) <= set(SPLIT.train)
        assert len({id.partition("_")[0] for id in smaller}) == (shots + 1) // 2
    assert set(chosen[-1]) == set(SPLIT.train)


def test_few_shot_subsets_differ_by_draw_and_all_is_the_whole_part() -> None:
    draws = {few_shot(SPLIT, CASES, 4, "any", subset) for subset in range(10)}
    assert len(draws) > 5
    assert few_shot(SPLIT, CASES, 4, "any", 3) == few_shot(SPLIT, CASES, 4, "any", 3)
    assert few_shot(SPLIT, CASES, "all", "any", 0) == SPLIT.train


@pytest.mark.parametrize("shots", [25, 100])
def test_more_shots_than_training_cases_is_a_users_error(shots: int) -> None:
    with pytest.raises(UserError, match=f"found {shots}; expected 1 to 24"):
        few_shot(SPLIT, CASES, shots, "any", 0)


# Augmentation

EVERYTHING = Augmentation(
    mirror_axes=(0,), affine_probability=1.0, rotation=15.0, scaling=0.15,
    noise_probability=1.0, intensity_probability=1.0, blur_probability=1.0, brightness_probability=1.0,
    contrast_probability=1.0, low_resolution_probability=1.0, inverted_gamma_probability=1.0,
    gamma_probability=1.0,
)  # fmt: skip
OF_INTENSITY = [name for name in Augmentation.model_fields if name.endswith("_probability")
                and name not in ("mirror_probability", "affine_probability", "rotate90_probability")]  # fmt: skip


def patches() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    labels = np.zeros((2, 1, 10, 8, 6), np.uint8)
    labels[:, :, 2:8, 2:5, 1:4], labels[:, :, 6:9, 5:7, 3:5] = 2, 7
    return rng.normal(size=(2, 1, 10, 8, 6)).astype(np.float32) + labels, labels


def test_augmentation_is_a_function_of_seed_and_step_alone() -> None:
    one, other = Augmenter(EVERYTHING, seed=3), Augmenter(EVERYTHING, seed=3)
    forwards = [one(*patches(), step) for step in range(4)]
    torch.rand(5, generator=torch.manual_seed(1))  # whatever else is drawn
    backwards = [other(*patches(), step) for step in reversed(range(4))][::-1]
    for (image, label), (again, label_again) in zip(forwards, backwards, strict=True):
        assert torch.equal(image, again) and torch.equal(label, label_again)
    assert not torch.equal(forwards[0][0], forwards[1][0])
    assert not torch.equal(forwards[0][0], Augmenter(EVERYTHING, seed=4)(*patches(), 0)[0])


def test_a_sample_is_changed_in_the_same_way_whatever_the_batch() -> None:
    augment, (images, labels) = Augmenter(EVERYTHING, seed=3), patches()
    together = augment(images, labels, 5)
    for index in range(2):
        image, label = augment(images[index : index + 1], labels[index : index + 1], 10 + index)
        assert torch.equal(together[0][index], image[0]) and torch.equal(together[1][index], label[0])


def test_labels_keep_their_values_and_stay_on_the_image() -> None:
    spatial = EVERYTHING.model_copy(update=dict.fromkeys(OF_INTENSITY, 0.0))
    augment, (_, labels) = Augmenter(spatial, 0), patches()
    moved = 0
    for step in range(10):
        image, label = augment(labels.astype(np.float32), labels, step)
        assert label.dtype == torch.int64 and label.shape == (2, 1, 10, 8, 6)
        assert set(label.unique().tolist()) <= {0, 2, 7}
        moved += not torch.equal(label, torch.from_numpy(labels).long())
        # the image is the label map itself, so both must have moved together
        together = np.corrcoef(image.numpy().ravel(), label.numpy().ravel())[0, 1]
        assert together > 0.8
    assert moved == 10


@pytest.mark.parametrize("name", OF_INTENSITY)
def test_every_change_of_intensity_changes_the_image_alone(name: str) -> None:
    images, labels = patches()
    changed, kept = Augmenter(Augmentation(**{name: 1.0}), 0)(images, labels, 0)
    assert changed.shape == images.shape and torch.isfinite(changed).all()
    assert not torch.allclose(changed, torch.from_numpy(images)) and np.array_equal(kept, labels)


def test_planar_transforms_do_not_mix_slices() -> None:
    labels = np.zeros((1, 1, 12, 12, 6), np.uint8)
    labels[..., 3:9, 2:8, 2] = 1
    turning = Augmentation(affine_probability=1.0, rotation=30.0, scaling=0.2, planar=True)
    for step in range(5):
        _, moved = Augmenter(turning, 0)(labels.astype(np.float32), labels, step)
        filled = moved[0, 0].sum(dim=(0, 1)).nonzero().ravel().tolist()
        assert filled == [2] and not np.array_equal(moved, labels)


TURNED = Augmentation(affine_probability=1.0, rotation=30.0, scale_range=(0.7, 1.4), enlarge=True)


def test_a_margin_is_more_of_the_volume_around_the_same_patch() -> None:
    draws, margin = sampler(MANY), (3, 0, 5)
    for step in range(5):
        for plain, wide in zip(draws.draw(step), draws.draw(step, margin), strict=True):
            assert wide.shape[2:] == (14, 8, 18)
            np.testing.assert_array_equal(wide[:, :, 3:-3, :, 5:-5], plain)
    image, label = draws.draw(0, margin)
    places = image[0, 1].astype(int) - 1  # where in the volume each voxel was; -1: outside
    inside = places >= 0
    whole = MANY[str(int(image[0, 0].max()))]
    np.testing.assert_array_equal(whole.ravel()[places[inside]], label[0, 0][inside])


def test_a_turn_equals_scipys_and_its_margin_is_what_it_needs() -> None:
    patch = (12, 10, 8)
    for number in range(20):
        turn = draw_turn(TURNED, 0, "test", number)
        assert turn is not None
        margin = turn.margin(patch)
        wide = [side + 2 * more for side, more in zip(patch, margin, strict=True)]
        volume = np.random.default_rng(number).normal(size=wide).astype(np.float32)
        start = (np.array(wide) - 1) / 2 - turn.matrix @ ((np.array(patch) - 1) / 2)
        expected = ndimage.affine_transform(volume, turn.matrix, start, patch, order=1, mode="constant")
        turned = turn.apply(torch.from_numpy(volume)[None], patch, "bilinear")
        np.testing.assert_allclose(turned[0].numpy(), expected, atol=1e-4)
        whole = turn.apply(torch.ones(1, *wide), patch, "bilinear")
        assert whole.min() > 0.999, "a corner is empty"
        if any(margin):
            narrow = torch.ones(1, *(max(side - 2, 1) for side in wide))
            assert turn.apply(narrow, patch, "bilinear").min() < 0.999, (
                "the margin is wider than it has to be"
            )


def test_turned_patches_have_no_empty_corner_and_others_are_untouched() -> None:
    settings = TURNED.model_copy(update={"affine_probability": 0.3})
    large = {"1": np.ones((60, 60, 60), np.uint8)}
    draws, augment = sampler(large, foreground=0.0, patch=(16, 12, 8)), Augmenter(settings, 0)
    kinds = set()
    for step in range(30):
        margin = augment.margin((16, 12, 8), 2, step)
        images, labels = draws.draw(step, margin)
        image, label = augment(images, labels, step, margin)
        assert image.shape == (2, 2, 16, 12, 8) and label.shape == (2, 1, 16, 12, 8)
        far = (images[:, 1, [0, -1]].reshape(2, -1) == 0).any(axis=1)  # the margin reaches out of the volume
        plain = draws.draw(step)[0]
        for index in range(2):
            same = np.array_equal(image[index], plain[index])
            assert same == (augment._turn(2 * step + index) is None)
            kinds.add((same, any(margin)))
            if not far[index]:
                assert label[index].min() == 1
    assert {(True, False), (True, True), (False, True)} <= kinds
    assert Augmenter(TURNED.model_copy(update={"enlarge": False}), 0).margin((16, 12, 8), 2, 0) == (0, 0, 0)


def test_rotation_and_scaling_come_apart_with_one_factor_for_all_axes() -> None:
    settings = TURNED.model_copy(update={"affine_probability": 0.2})
    turns = [draw_turn(settings, 0, "test", number) for number in range(4000)]
    matrices = [turn.matrix for turn in turns if turn]
    assert abs(len(matrices) / 4000 - (1 - 0.8**2)) < 0.03
    factors = np.array([np.linalg.det(matrix) ** (1 / 3) for matrix in matrices])
    for matrix, factor in zip(matrices, factors, strict=True):
        np.testing.assert_allclose(matrix @ matrix.T, factor**2 * np.eye(3), atol=1e-6)
    scaled = factors[abs(factors - 1) > 1e-6]
    assert abs(len(scaled) / 4000 - 0.2) < 0.02 and 0.7 <= scaled.min() < 0.72 and 1.38 < scaled.max() <= 1.4
    assert abs((scaled < 1).mean() - 0.5) < 0.05
    flat = settings.model_copy(update={"planar": True, "rotation": 180.0})
    for number in range(200):
        turn = draw_turn(flat, 0, "test", number)
        if turn:
            np.testing.assert_allclose(turn.matrix[2], [0, 0, 1], atol=1e-6)
            np.testing.assert_allclose(turn.matrix[:, 2], [0, 0, 1], atol=1e-6)
    with pytest.raises(ValueError, match="scaling 0 where scale_range"):
        Augmentation(scaling=0.1, scale_range=(0.7, 1.4))
    with pytest.raises(ValueError, match="from a smaller to a larger"):
        Augmentation(scale_range=(1.4, 0.7))


def test_without_the_later_settings_a_patch_is_turned_as_ever() -> None:
    """Ids of earlier records stand for these numbers."""
    images = np.random.default_rng(0).normal(size=(1, 1, 6, 5, 4)).astype(np.float32)
    settings = Augmentation(affine_probability=1.0, rotation=20.0, scaling=0.2)
    image, _ = Augmenter(settings, 0)(images, images.astype(np.uint8), 0)
    assert [round(float(value), 4) for value in image.ravel()[::40]] == [-0.0816, -0.1525, 0.0402]


def test_quarter_turns_keep_every_voxel_and_need_a_square_patch() -> None:
    images = np.random.default_rng(0).normal(size=(1, 1, 6, 6, 4)).astype(np.float32)
    turned, _ = Augmenter(Augmentation(rotate90_probability=1.0), 0)(images, images.astype(np.uint8), 0)
    assert any(np.array_equal(turned[0, 0], np.rot90(images[0, 0], k)) for k in (1, 2, 3))
    with pytest.raises(ValueError, match="equal first two sides"):
        Recipe(patch=(8, 6, 4), spacing=(1, 1, 1), augmentation=Augmentation(rotate90_probability=0.1))


def test_the_input_of_augmentation_is_left_as_it_is() -> None:
    images, labels = patches()
    Augmenter(EVERYTHING, 0)(images, labels, 0)
    np.testing.assert_array_equal(images, patches()[0])
    np.testing.assert_array_equal(labels, patches()[1])


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 1)])
def test_only_allowed_axes_are_mirrored(axes: tuple[int, ...]) -> None:
    augment = Augmenter(Augmentation(mirror_axes=axes), seed=0)
    images, labels = patches()
    seen = set()
    for step in range(30):
        for image, label, before, label_before in zip(
            *augment(images, labels, step), images, labels, strict=True
        ):
            (flipped,) = (
                subset
                for subset in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
                if np.array_equal(image.numpy(), np.flip(before, [axis + 1 for axis in subset]))
            )
            np.testing.assert_array_equal(
                label.numpy(), np.flip(label_before, [axis + 1 for axis in flipped])
            )
            seen.add(flipped)
    allowed = {(), *((axis,) for axis in axes), *([axes] if len(axes) > 1 else [])}
    assert seen == allowed


def test_without_settings_nothing_changes() -> None:
    for nothing in (
        Augmentation(),
        Augmentation(affine_probability=1.0),
        Augmentation(mirror_axes=(0,), mirror_probability=0),
    ):
        image, label = Augmenter(nothing, 0)(*patches(), 0)
        np.testing.assert_array_equal(image.numpy(), patches()[0])
        np.testing.assert_array_equal(label.numpy(), patches()[1])


def test_noise_and_intensity_leave_labels_alone() -> None:
    augment = Augmenter(Augmentation(noise_probability=1.0, intensity_probability=1.0), 0)
    image, label = augment(*patches(), 0)
    assert not np.array_equal(image.numpy(), patches()[0])
    np.testing.assert_array_equal(label.numpy(), patches()[1])
