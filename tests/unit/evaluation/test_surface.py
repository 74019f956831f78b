from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from medpy.metric import binary
from monai.metrics.surface_dice import compute_surface_dice
from numpy.typing import NDArray

from harness.evaluation import nearest_voxel, surface
from harness.evaluation.surface import SurfaceDistances, surface_distances

Labels = NDArray[np.uint8]
Spacing = tuple[float, float, float]

SPACINGS = st.sampled_from(
    [(1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (1.25, 0.5, 2.0), (5.0, 0.75, 0.75), (0.02, 1.0, 0.3)]
)
SHAPES = st.tuples(*[st.integers(2, 9)] * 3)
LONG_SHAPES = st.sampled_from([(3, 4, 40), (40, 3, 4), (2, 24, 9), (9, 2, 30)])


def random_mask(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.bool_]:
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


def random_labels(rng: np.random.Generator, shape: tuple[int, ...], labels: int = 3) -> Labels:
    """Return labels on top of one another, in C or in Fortran order."""
    volume = np.zeros(shape, np.uint8)
    for value in range(1, labels + 1):
        volume[random_mask(rng, shape)] = value
    return np.asfortranarray(volume) if rng.random() < 0.5 else volume


def check_against_medpy(one: Labels, other: Labels, spacing: Spacing) -> None:
    common = [int(v) for v in np.unique(one) if v and (other == v).any()]
    assume(common)
    whole = dict(surface_distances(one, other, spacing, common))
    short = dict(surface_distances(one, other, spacing, common, complete=False))
    for label in common:
        a, b = one == label, other == label
        hd95 = binary.hd95(a, b, voxelspacing=spacing)
        assert whole[label].hd95() == pytest.approx(hd95, abs=1e-9)
        assert short[label].hd95() == pytest.approx(hd95, abs=1e-9)
        assert whole[label].assd() == pytest.approx(binary.assd(a, b, voxelspacing=spacing), abs=1e-9)


def some_and_many(some: int, many: int) -> pytest.MarkDecorator:
    """Run a test on some examples, and where slow tests are run on many."""
    return pytest.mark.parametrize("examples", [some, pytest.param(many, marks=pytest.mark.slow)])


@some_and_many(300, 1400)
def test_hd95_and_assd_of_all_labels_equal_medpys(examples: int) -> None:
    @settings(deadline=None, max_examples=examples, derandomize=True)
    @given(shape=SHAPES, spacing=SPACINGS, seed=st.integers(0, 2**32 - 1))
    def check(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
        rng = np.random.default_rng(seed)
        check_against_medpy(random_labels(rng, shape), random_labels(rng, shape), spacing)

    check()


@some_and_many(150, 600)
def test_every_path_of_the_search_equals_medpy(examples: int) -> None:
    """With few offsets, small slabs, parts and blocks, small volumes take the paths that large ones take."""

    @settings(deadline=None, max_examples=examples, derandomize=True)
    @given(shape=st.one_of(SHAPES, LONG_SHAPES), spacing=SPACINGS, seed=st.integers(0, 2**32 - 1))
    def check(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
        check_a_path(shape, spacing, seed)

    check()


def check_a_path(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        for module, name, values in (
            (surface, "_OFFSETS", (1, 8, 40)),
            (surface, "_PERIOD", (1, 3)),
            (surface, "_SLAB", (7, 64)),
            (surface, "_HELD", (0, 1000)),
            (nearest_voxel, "_PART", (5, 50)),
            (nearest_voxel, "_BLOCK", (2, 5)),
        ):
            patch.setattr(module, name, int(rng.choice(values)))
        check_against_medpy(random_labels(rng, shape, 2), random_labels(rng, shape, 2), spacing)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS, seed=st.integers(0, 2**32 - 1))
def test_every_distance_equals_medpys(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = random_mask(rng, shape), random_mask(rng, shape)
    assume(one.any() and other.any())
    ours = of_masks(one, other, spacing)
    for counts, (a, b) in zip(ours.counts, [(one, other), (other, one)], strict=True):
        theirs = binary.__surface_distances(a, b, spacing)
        np.testing.assert_allclose(np.repeat(ours.lengths, counts), np.sort(theirs), atol=1e-9)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    shape=SHAPES,
    spacing=SPACINGS,
    seed=st.integers(0, 2**32 - 1),
    tolerance=st.sampled_from([0.7, 1.0, 2.0, 3.1]),
)
def test_nsd_equals_monais_by_voxels(
    shape: tuple[int, ...], spacing: Spacing, seed: int, tolerance: float
) -> None:
    rng = np.random.default_rng(seed)
    one, other = random_mask(rng, shape), random_mask(rng, shape)
    assume(one.any() and other.any())
    theirs = compute_surface_dice(
        torch.from_numpy(one)[None, None], torch.from_numpy(other)[None, None], [tolerance],
        include_background=True, spacing=spacing, use_subvoxels=False,
    )  # fmt: skip
    assert of_masks(one, other, spacing).nsd(tolerance) == pytest.approx(theirs.item(), abs=1e-6)


def of_masks(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: Spacing) -> SurfaceDistances:
    return dict(surface_distances(one.astype(np.uint8), other.astype(np.uint8), spacing, [1]))[1]


def voxels(shape: tuple[int, ...], *places: tuple[int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def test_two_voxels_apart_by_hand() -> None:
    one, other = voxels((5, 5, 5), (0, 0, 0)), voxels((5, 5, 5), (3, 0, 2))
    found = of_masks(one, other, (1.0, 1.0, 2.5))
    assert found.hd95() == found.assd() == pytest.approx(math.hypot(3 * 1.0, 2 * 2.5))


def test_the_percentile_is_taken_of_both_directions_together() -> None:
    """Three voxels 0, 0 and 2 mm away, and 0 and 0 back: the 95th percentile lies at 0.8 between 0 and 2."""
    one = voxels((4, 2, 2), (0, 0, 0), (1, 0, 0), (3, 0, 0))
    other = voxels((4, 2, 2), (0, 0, 0), (1, 0, 0))
    found = of_masks(one, other, (1.0, 1.0, 1.0))
    by_direction = [np.repeat(found.lengths, counts).tolist() for counts in found.counts]
    assert by_direction == [[0.0, 0.0, 2.0], [0.0, 0.0]]
    assert found.hd95() == pytest.approx(0.8 * 2)
    assert found.assd() == pytest.approx(2 / 5)
    assert (found.nsd(1.9), found.nsd(2.0)) == (pytest.approx(4 / 5), 1.0)


def test_inner_voxels_are_no_surface_and_the_border_of_the_volume_is() -> None:
    full = np.ones((3, 3, 3), bool)
    found = of_masks(full, voxels((3, 3, 3), (1, 1, 1)), (1.0, 1.0, 1.0))
    forth, back = (np.repeat(found.lengths, counts) for counts in found.counts)
    assert len(forth) == 26 and back.tolist() == [1.0]
    assert sorted(set(np.round(forth, 12))) == pytest.approx([1, math.sqrt(2), math.sqrt(3)])


def test_a_neighbour_with_another_label_makes_a_surface() -> None:
    volume = np.ones((5, 3, 3), np.uint8)
    volume[2:] = 2
    found = dict(surface_distances(volume, volume, (1.0, 1.0, 1.0), [1, 2]))
    # of 2 x 3 x 3 voxels all are surface, of 3 x 3 x 3 all but the middle
    assert (found[1].voxels, found[2].voxels) == (2 * 18, 2 * 26) and found[2].hd95() == 0.0


@pytest.mark.parametrize("far", [3, 60])
def test_the_value_does_not_depend_on_where_in_the_volume_the_organs_lie(far: int) -> None:
    rng = np.random.default_rng(0)
    block = [random_mask(rng, (6, 7, 5)) for _ in range(2)]
    values = []
    for corner in (0, 11):
        one, other = np.zeros((2, 30, 30, 80), bool)
        one[corner : corner + 6, corner : corner + 7, :5] = block[0]
        other[corner : corner + 6, corner : corner + 7, far : far + 5] = block[1]
        found = of_masks(one, other, (0.7, 0.7, 3.3))
        values.append((found.hd95(), found.assd()))
    assert values[0] == values[1]


def test_what_cannot_be_measured_is_refused() -> None:
    full, empty = np.ones((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8)
    for pair in ((full, empty), (empty, full), (empty, empty)):
        with pytest.raises(ValueError, match="need a voxel of label 1"):
            dict(surface_distances(*pair, (1.0, 1.0, 1.0), [1]))
    with pytest.raises(ValueError, match="same shape"):
        dict(surface_distances(full, full[:1], (1.0, 1.0, 1.0), [1]))
    with pytest.raises(ValueError, match="same shape"):
        dict(surface_distances(full[0], full[0], (1.0, 1.0, 1.0), [1]))
    assert not list(surface_distances(full, full, (1.0, 1.0, 1.0), []))


def test_a_mean_of_the_shortest_distances_alone_is_refused() -> None:
    one, other = np.zeros((2, 2, 2, 400), np.uint8)
    one[0, 0, ::2], other[0, 0, :350:2] = 1, 1
    short = dict(surface_distances(one, other, (1.0, 1.0, 1.0), [1], complete=False))[1]
    assert short.hd95() == pytest.approx(binary.hd95(one, other), abs=1e-9)
    with pytest.raises(ValueError, match="complete"):
        short.assd()
