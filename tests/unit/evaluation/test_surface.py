from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from medpy.metric import binary
from numpy.typing import NDArray

from harness.evaluation.metrics import dice, mean_dice, score_case
from harness.evaluation.surface import hd95, surface_distances

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

SPACINGS = st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (1.25, 0.5, 2.0), (5.0, 0.75, 0.75)])
SHAPES = st.tuples(*[st.integers(2, 9)] * 3)


def random_mask(rng: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    """Return a box, often at the border, one voxel, noise, or noise in a box."""
    mask = np.zeros(shape, bool)
    kind = rng.integers(4)
    if kind == 0:
        mask[tuple(rng.integers(0, shape))] = True
    elif kind == 1:
        mask = rng.random(shape) < rng.uniform(0.02, 0.9)
    else:
        low = rng.integers(0, shape)
        high = rng.integers(low, shape) + 1
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
        if kind == 3:
            mask &= rng.random(shape) < 0.7
    return mask


@settings(deadline=None, max_examples=300, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS, seed=st.integers(0, 2**32 - 1))
def test_dice_and_hd95_equal_medpy(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = random_mask(rng, shape), random_mask(rng, shape)
    assume(one.any() and other.any())
    assert hd95(*surface_distances(one, other, spacing)) == pytest.approx(
        binary.hd95(one, other, voxelspacing=spacing), abs=1e-9
    )
    assert dice(one, other) == pytest.approx(binary.dc(one, other), abs=1e-12)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS, seed=st.integers(0, 2**32 - 1))
def test_every_surface_distance_equals_medpys(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = random_mask(rng, shape), random_mask(rng, shape)
    assume(one.any() and other.any())
    for ours, (a, b) in zip(
        surface_distances(one, other, spacing), [(one, other), (other, one)], strict=True
    ):
        theirs = binary.__surface_distances(a, b, spacing)
        np.testing.assert_allclose(np.sort(ours), np.sort(theirs), atol=1e-9)


def voxels(shape: tuple[int, ...], *places: tuple[int, int, int]) -> Mask:
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def test_two_voxels_apart_by_hand() -> None:
    one, other = voxels((5, 5, 5), (0, 0, 0)), voxels((5, 5, 5), (3, 0, 2))
    distance = math.hypot(3 * 1.0, 2 * 2.5)
    assert hd95(*surface_distances(one, other, (1.0, 1.0, 2.5))) == pytest.approx(distance)
    assert dice(one, other) == 0.0


def test_the_percentile_is_taken_of_both_directions_together() -> None:
    """Three voxels 0, 0 and 2 mm away, and 0 and 0 back: the 95th percentile lies at 0.8 between 0 and 2."""
    one = voxels((4, 2, 2), (0, 0, 0), (1, 0, 0), (3, 0, 0))
    other = voxels((4, 2, 2), (0, 0, 0), (1, 0, 0))
    forth, back = surface_distances(one, other, (1.0, 1.0, 1.0))
    assert sorted(forth) == [0.0, 0.0, 2.0] and sorted(back) == [0.0, 0.0]
    assert hd95(forth, back) == pytest.approx(0.8 * 2)
    assert dice(one, other) == pytest.approx(4 / 5)


def test_inner_voxels_are_no_surface_and_the_border_of_the_volume_is() -> None:
    full = np.ones((3, 3, 3), bool)
    forth, back = surface_distances(full, voxels((3, 3, 3), (1, 1, 1)), (1.0, 1.0, 1.0))
    assert len(forth) == 26 and len(back) == 1
    assert sorted(set(np.round(forth, 12))) == pytest.approx([1, math.sqrt(2), math.sqrt(3)])
    assert back.tolist() == [1.0]


def test_identical_masks_are_at_distance_0() -> None:
    mask = voxels((4, 4, 4), (0, 0, 0), (2, 2, 2), (2, 2, 3))
    assert hd95(*surface_distances(mask, mask.copy(), (0.7, 0.7, 3.0))) == 0.0 and dice(mask, mask) == 1.0


def test_distances_to_an_empty_mask_are_refused() -> None:
    full, empty = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    for pair in ((full, empty), (empty, full), (empty, empty)):
        with pytest.raises(ValueError, match="both masks"):
            surface_distances(*pair, (1.0, 1.0, 1.0))


REGIONS = {"a": (1,), "b": (2,), "both": (1, 2)}


def rows_of(prediction: NDArray[np.uint8], reference: NDArray[np.uint8]) -> dict[tuple[str, str], dict]:
    rows = score_case(prediction, reference, (1.0, 2.0, 2.0), REGIONS)
    assert len(rows) == 2 * len(REGIONS)
    return {(row["region"], row["metric"]): row for row in rows}


def test_empty_masks_are_flagged_and_a_miss_costs_the_diagonal() -> None:
    shape, diagonal = (2, 2, 4), math.sqrt(2**2 + 4**2 + 8**2)
    empty, filled = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    filled[0, 0, 0] = 1
    for prediction, reference, flag in ((empty, filled, "prediction"), (filled, empty, "reference")):
        rows = rows_of(prediction, reference)
        for region in ("a", "both"):
            assert rows[region, "dice"]["value"] == 0.0
            assert rows[region, "hd95"]["value"] == pytest.approx(diagonal)
            assert rows[region, "dice"]["empty"] == rows[region, "hd95"]["empty"] == flag
        for metric in ("dice", "hd95"):
            assert math.isnan(rows["b", metric]["value"]) and rows["b", metric]["empty"] == "both"
    same = rows_of(filled, filled)
    assert same["a", "dice"] == {"region": "a", "metric": "dice", "value": 1.0, "unit": "", "empty": "none"}
    assert same["a", "hd95"] == {"region": "a", "metric": "hd95", "value": 0.0, "unit": "mm", "empty": "none"}


def test_a_region_is_the_union_of_its_labels() -> None:
    reference = np.zeros((4, 4, 4), np.uint8)
    reference[:2], reference[2:3] = 1, 2
    swapped = np.where(reference == 1, 2, np.where(reference == 2, 1, 0)).astype(np.uint8)
    rows = rows_of(swapped, reference)
    assert rows["both", "dice"]["value"] == 1.0 and rows["a", "dice"]["value"] == 0.0
    assert mean_dice(swapped, reference, REGIONS) == {
        region: rows[region, "dice"]["value"] for region in REGIONS
    }


def means(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], spacing: Spacing
) -> tuple[float, float]:
    """Return the mean Dice and HD95 over four regions, without those that are empty in both maps."""
    rows = score_case(prediction, reference, spacing, {str(value): (value,) for value in (1, 2, 3, 4)})
    by_metric = {m: [row["value"] for row in rows if row["metric"] == m] for m in ("dice", "hd95")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all regions empty
        return float(np.nanmean(by_metric["dice"])), float(np.nanmean(by_metric["hd95"]))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS, seed=st.integers(0, 2**32 - 1))
def test_a_missed_organ_never_improves_the_mean(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, reference = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for value in (1, 2, 3):
        prediction[random_mask(rng, shape)] = value
        reference[random_mask(rng, shape)] = value
    assume(prediction.any() or reference.any())
    before = means(prediction, reference, spacing)

    free = np.argwhere((prediction == 0) & (reference == 0))
    assume(len(free))
    missed = reference.copy()
    missed[tuple(free[rng.integers(len(free))])] = 4  # an organ that nobody predicted
    dice_after, hd95_after = means(prediction, missed, spacing)
    assert dice_after <= before[0] + 1e-12 and hd95_after >= before[1] - 1e-12

    present = [value for value in (1, 2, 3) if (prediction == value).any() and (reference == value).any()]
    assume(present)
    dropped = np.where(prediction == present[0], 0, prediction).astype(np.uint8)  # one that is found no more
    dice_after, hd95_after = means(dropped, reference, spacing)
    assert dice_after <= before[0] + 1e-12 and hd95_after >= before[1] - 1e-12
