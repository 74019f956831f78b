"""Patches: where they lie, how often each case is used, and that a draw is a function of seed and step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.patches import PatchSampler
from harness.spec import Recipe


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
