from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from medpy.metric import binary

from harness.errors import UserError
from harness.evaluation.conventions import CONVENTIONS, SYNAPSE_8, SYNAPSE_13, Convention, metric_named
from harness.evaluation.metrics import (
    dice_by_region,
    joint_histogram,
    score_case,
    score_case_by,
    without_ignored,
)
from tests.unit.evaluation.test_surface import SHAPES, SPACINGS, Labels, Spacing, random_labels, random_mask

REGIONS = {"a": (1,), "b": (2,), "both": (1, 2)}
ALL = ("dice", "hd95", "assd", "nsd@1", "sensitivity", "precision", "volume", "reference_volume")


def by_name(rows: list[dict]) -> dict[tuple[str, str], dict]:
    return {(row["region"], row["metric"]): row for row in rows}


def rows_of(prediction: Labels, reference: Labels) -> dict[tuple[str, str], dict]:
    rows = score_case(prediction, reference, (1.0, 2.0, 2.0), REGIONS)
    assert len(rows) == 2 * len(REGIONS)
    return by_name(rows)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS, seed=st.integers(0, 2**32 - 1))
def test_overlapping_regions_equal_medpy(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, reference = random_labels(rng, shape), random_labels(rng, shape)
    regions = {"ET": (3,), "TC": (2, 3), "WT": (1, 2, 3)}
    rows = by_name(score_case(prediction, reference, spacing, regions, ALL))
    for name, values in regions.items():
        a, b = np.isin(prediction, values), np.isin(reference, values)
        assert rows[name, "volume"]["value"] == pytest.approx(a.sum() * math.prod(spacing) / 1000)
        assert rows[name, "reference_volume"]["value"] == pytest.approx(b.sum() * math.prod(spacing) / 1000)
        if a.any() and b.any():
            assert rows[name, "dice"]["value"] == pytest.approx(binary.dc(a, b), abs=1e-12)
            assert rows[name, "sensitivity"]["value"] == pytest.approx(binary.recall(a, b), abs=1e-12)
            assert rows[name, "precision"]["value"] == pytest.approx(binary.precision(a, b), abs=1e-12)
            assert rows[name, "hd95"]["value"] == pytest.approx(binary.hd95(a, b, spacing), abs=1e-9)
            assert rows[name, "assd"]["value"] == pytest.approx(binary.assd(a, b, spacing), abs=1e-9)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_the_joint_histogram_counts_every_pair(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = random_labels(rng, shape), random_labels(rng, shape)
    table = joint_histogram(one, other)
    for i in range(len(table)):
        for j in range(len(table)):
            if i or j:
                assert table[i, j] == np.count_nonzero((one == i) & (other == j))


def test_labels_up_to_255_are_told_apart() -> None:
    volume = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    rows = score_case(volume, volume, (1.0, 1.0, 1.0), {str(v): (v,) for v in range(1, 256)})
    assert {row["value"] for row in rows if row["metric"] == "dice"} == {1.0}
    assert {row["value"] for row in rows if row["metric"] == "hd95"} == {0.0}


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


@pytest.mark.parametrize(
    ("name", "both", "one", "unit"),
    [
        ("released_synapse", (1.0, 0.0), (0.0, 0.0), "voxel"),
        ("released_acdc", (1.0, 0.0), (0.0, 0.0), "voxel"),
        ("released_brats", (1.0, 0.0), (0.0, 0.0), "voxel"),
        ("released_unetr", (0.0, 0.0), (0.0, 0.0), "voxel"),
    ],
)
def test_released_conventions_measure_in_voxels_and_give_0_for_what_is_empty(
    name: str, both: tuple[float, float], one: tuple[float, float], unit: str
) -> None:
    convention = CONVENTIONS[name]
    prediction, reference = np.zeros((2, 6, 6, 6), np.uint8)
    prediction[1, 1, 1], reference[4, 1, 1], reference[0, 0, 5] = 1, 1, 2
    regions = {"found": (1,), "missed": (2,), "nowhere": (3,)}
    rows = by_name(score_case(prediction, reference, (2.0, 2.0, 2.0), regions, convention=convention))
    values = lambda region: tuple(rows[region, metric]["value"] for metric in ("dice", "hd95"))  # noqa: E731
    assert values("found") == (0.0, 3.0) and rows["found", "hd95"]["unit"] == unit
    assert values("missed") == one and values("nowhere") == both
    assert convention.name in convention.label and "not mm" in convention.label


def test_conventions_report_the_organs_of_their_scripts() -> None:
    assert list(SYNAPSE_8) == ["Spl", "RKid", "LKid", "Gal", "Liv", "Sto", "Aor", "Pan"]
    assert [value for (value,) in SYNAPSE_8.values()] == [1, 2, 3, 4, 6, 7, 8, 11]
    assert CONVENTIONS["released_synapse"].regions == SYNAPSE_8
    assert CONVENTIONS["released_unetr"].regions == SYNAPSE_13 and len(SYNAPSE_13) == 13
    assert CONVENTIONS["released_brats"].regions == {"ET": (3,), "TC": (2, 3), "WT": (1, 2, 3)}
    assert CONVENTIONS["harness"].regions is None


def test_scores_by_several_conventions_are_those_by_each() -> None:
    rng = np.random.default_rng(0)
    maps = random_labels(rng, (9, 8, 7)), random_labels(rng, (9, 8, 7))
    regions = {"one": (1,), "two": (2,), "none": (200,)}
    together = score_case_by([*CONVENTIONS.values()], *maps, (1.0, 2.0, 0.5), regions)
    for convention, rows in zip(CONVENTIONS.values(), together, strict=True):
        alone = score_case(*maps, (1.0, 2.0, 0.5), regions, convention=convention)
        np.testing.assert_equal(rows, alone)


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="hd95"):
        metric_named("hd59")
    with pytest.raises(UserError, match="nsd@1"):
        metric_named("nsd")


def test_other_types_than_uint8_are_refused() -> None:
    volume = np.ones((2, 2, 2), np.int16)
    with pytest.raises(ValueError, match="uint8"):
        score_case(volume, volume, (1.0, 1.0, 1.0), REGIONS)  # type: ignore[arg-type]


def test_a_region_is_the_union_of_its_labels() -> None:
    reference = np.zeros((4, 4, 4), np.uint8)
    reference[:2], reference[2:3] = 1, 2
    swapped = np.where(reference == 1, 2, np.where(reference == 2, 1, 0)).astype(np.uint8)
    rows = rows_of(swapped, reference)
    assert rows["both", "dice"]["value"] == 1.0 and rows["a", "dice"]["value"] == 0.0
    assert dice_by_region(swapped, reference, REGIONS) == {
        region: rows[region, "dice"]["value"] for region in REGIONS
    }


def means(
    prediction: Labels, reference: Labels, spacing: Spacing, convention: Convention
) -> dict[str, float]:
    """Return the mean of each metric over four regions, without those that are not counted."""
    regions = {str(value): (value,) for value in (1, 2, 3, 4)}
    metrics = ("dice", "hd95", "assd", "nsd@1", "sensitivity", "precision")
    rows = score_case(prediction, reference, spacing, regions, metrics, convention)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing to count
        return {m: float(np.nanmean([row["value"] for row in rows if row["metric"] == m])) for m in metrics}


def improved(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Return the metrics that are better after; a share is better when larger, a distance when smaller."""
    sign = {name: 1 if metric_named(name).higher_is_better else -1 for name in before}
    return [name for name in before if sign[name] * after[name] > sign[name] * before[name] + 1e-12]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS, seed=st.integers(0, 2**32 - 1))
def test_a_missed_organ_never_improves_a_mean(shape: tuple[int, ...], spacing: Spacing, seed: int) -> None:
    convention = CONVENTIONS["harness"]
    rng = np.random.default_rng(seed)
    prediction, reference = np.zeros((2, *shape), np.uint8)
    for value in (1, 2, 3):
        prediction[random_mask(rng, shape)] = value
        reference[random_mask(rng, shape)] = value
    assume(prediction.any() and reference.any())
    before = means(prediction, reference, spacing, convention)

    free = np.argwhere((prediction == 0) & (reference == 0))
    assume(len(free))
    missed = reference.copy()
    missed[tuple(free[rng.integers(len(free))])] = 4  # an organ that nobody predicted
    assert not improved(before, means(prediction, missed, spacing, convention))

    present = [value for value in (1, 2, 3) if (prediction == value).any() and (reference == value).any()]
    assume(present)
    dropped = np.where(prediction == present[0], 0, prediction).astype(np.uint8)  # one that is found no more
    assert not improved(before, means(dropped, reference, spacing, convention))


def test_the_released_convention_is_improved_by_a_missed_organ() -> None:
    """The reason why it is not the default, and proof that the property above can fail."""
    prediction, reference = np.zeros((2, 8, 8, 8), np.uint8)
    prediction[0, 0, 0], reference[7, 7, 7] = 1, 1
    convention = CONVENTIONS["released_synapse"]
    before = means(prediction, reference, (1.0, 1.0, 1.0), convention)
    assert improved(before, means(np.zeros_like(prediction), reference, (1.0, 1.0, 1.0), convention)) == [
        "hd95",
        "assd",
    ]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("unlabelled", ["half", "scattered", "everywhere", "nowhere"])
def test_ignored_voxels_count_nowhere(order: str, unlabelled: str) -> None:
    """What is left is what medpy finds where both maps are background there."""
    rng = np.random.default_rng(3)
    prediction, labels = rng.integers(0, 3, (2, 9, 8, 7)).astype(np.uint8)
    ignored = {
        "half": np.indices(labels.shape)[2] >= 4,
        "scattered": rng.random(labels.shape) < 0.3,
        "everywhere": np.ones(labels.shape, bool),
        "nowhere": np.zeros(labels.shape, bool),
    }[unlabelled]
    reference = np.where(ignored, 255, labels).astype(np.uint8)
    before = np.array(prediction, order=order), np.array(reference, order=order)
    mine, theirs = without_ignored(*before, 255)
    assert (before[0] == prediction).all() and (before[1] == reference).all()  # they stay as they are
    assert (theirs[ignored] == 0).all() and (mine[ignored] == 0).all()
    assert mine.flags.f_contiguous == theirs.flags.f_contiguous == (order == "F")
    found = dice_by_region(mine, theirs, {"1": (1,), "2": (2,)})
    for value in (1, 2):
        a, b = (prediction == value) & ~ignored, (labels == value) & ~ignored
        wanted = binary.dc(a, b) if a.any() or b.any() else math.nan
        assert found[str(value)] == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_without_a_label_to_ignore_the_maps_are_the_same_ones() -> None:
    one, other = np.full((2, 3, 3, 3), 1, np.uint8)
    mine, theirs = without_ignored(one, other, None)
    assert mine is one and theirs is other
    with pytest.raises(ValueError, match="the same shape"):
        without_ignored(one, other[1:], 1)


def test_each_region_has_the_tolerance_that_its_dataset_declares() -> None:
    reference, prediction = (np.zeros((12, 12, 12), np.uint8) for _ in range(2))
    reference[2:6, 2:6, 2:6], reference[7:11, 7:11, 7:11] = 1, 2
    prediction[3:6, 2:6, 2:6], prediction[8:11, 7:11, 7:11] = 1, 2  # a layer of 1.5 mm lacks
    regions, spacing = {"near": (1,), "far": (2,)}, (1.5, 1.0, 1.0)
    names = ("nsd@1", "nsd@2", "nsd@region")
    rows = score_case(prediction, reference, spacing, regions, names, tolerances={"near": 1.0, "far": 2.0})
    values = {(row["region"], row["metric"]): row["value"] for row in rows}
    assert values["near", "nsd@region"] == values["near", "nsd@1"] < 1
    assert values["far", "nsd@region"] == values["far", "nsd@2"] == 1
    with pytest.raises(UserError, match="no tolerance of far"):
        score_case(prediction, reference, spacing, regions, names, tolerances={"near": 1.0})
