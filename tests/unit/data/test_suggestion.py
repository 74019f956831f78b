"""Each rule for a new dataset, with values by hand."""

from __future__ import annotations

import pytest

from harness.data.fingerprint import Fingerprint, Grid, Levels
from harness.data.pipelines import NNUNET
from harness.data.suggestion import (
    intensity,
    loss,
    median_volume,
    mirror_axes,
    suggest_recipe,
    target_spacing,
    turning,
)
from harness.parsing import parse
from harness.spec import Recipe


def fingerprint(*grids, channels=("MR",), labels=("organ",), **more) -> Fingerprint:
    return Fingerprint(channels, labels, tuple(Grid(shape, spacing) for shape, spacing in grids), **more)


def values(rules) -> dict:
    return {rule.key: rule.value for rule in rules}


FLAT = [((100, 100, 20), (1.0, 1.0, z)) for z in (4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0)]


def test_spacing_is_the_median() -> None:
    found = fingerprint(
        ((50, 60, 70), (1.0, 2.0, 1.5)), ((50, 60, 70), (1.2, 1.0, 1.6)), ((50, 60, 70), (3.0, 1.1, 1.7))
    )
    assert target_spacing(found).value == (1.2, 1.1, 1.6)


def test_along_far_slices_it_is_the_tenth_percentile() -> None:
    found = target_spacing(
        fingerprint(*FLAT)
    )  # median 9; of eleven values the tenth percentile is the second
    assert found.value == (1.0, 1.0, 5.0) and "along z" in found.reason and "9 mm" in found.reason


@pytest.mark.parametrize(
    "change",
    [
        lambda shape, spacing: ((40, 100, 20), spacing),  # 20 slices are no less than a third of 40
        lambda shape, spacing: (shape, (3.0, 1.0, spacing[2])),  # 9 mm are not over three times 3 mm
    ],
)
def test_an_axis_counts_as_coarse_by_spacing_and_by_voxels(change) -> None:
    assert target_spacing(fingerprint(*(change(*one) for one in FLAT))).value[2] == 9.0


def test_slices_never_become_thinner_than_pixels_are_wide() -> None:
    grids = [((100, 100, 20), (2.0, 2.0, z)) for z in (1.0, 1.0, 1.0, 8.0, 8.0, 8.0, 8.0)]
    assert target_spacing(fingerprint(*grids)).value == (2.0, 2.0, 2.0)


def test_the_median_volume_is_that_of_resampled_cases() -> None:
    found = fingerprint(((10, 20, 30), (1.0, 1.0, 2.0)), ((20, 20, 10), (1.0, 2.0, 3.0)))
    # at 1 mm: 10 x 20 x 60 and 20 x 40 x 30
    assert median_volume(found, (1.0, 1.0, 1.0)) == (15.0, 30.0, 45.0)


ONE = ((10, 10, 10), (1.0, 1.0, 1.0))


def test_intensities() -> None:
    levels = Levels(-100.0, 300.0, 80.127, 50.0)
    ct = values(intensity(fingerprint(ONE, channels=("CT",), levels=levels)))
    assert ct["intensity"] == "ct" and ct["intensity_levels"] == [-100.0, 300.0, 80.13, 50.0]
    assert values(intensity(fingerprint(ONE, channels=("ct",))))["intensity"] == "ct_soft_tissue"
    for channels, share, expected in (
        (("CT", "PET"), 1.0, "zscore"),
        (("MR",), None, "zscore"),
        (("MR",), 0.75, "zscore"),
        (("MR", "T2"), 0.74, "zscore_nonzero"),
    ):
        found = values(intensity(fingerprint(ONE, channels=channels, share=share)))
        assert found["intensity"] == expected and found["crop"] == "foreground"


def test_dice_is_over_the_batch_where_a_patch_shows_little() -> None:
    assert loss((10, 10, 10), (20, 20, 10)).value == "dice_ce_nnunet_sample"  # a quarter
    assert loss((10, 10, 10), (20, 20, 11)).value == "dice_ce_nnunet"


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (("liver", "spleen"), (0, 1, 2)),
        (("right kidney", "left kidney"), (1, 2)),
        (("Anterior", "Posterior"), (0, 2)),
        (("hippocampus_L", "hippocampus_R"), (1, 2)),
        (("left atrium", "right kidney"), (0, 1, 2)),
        (("inferior vena cava", "left superior lobe", "left inferior lobe"), (0, 1)),
    ],
)
def test_no_mirror_turns_a_label_into_another(labels, axes) -> None:
    assert mirror_axes(labels).value == axes


def test_thin_patches_are_turned_within_slices() -> None:
    where = "augmentation"
    assert values(turning((96, 96, 32), (1, 1, 3))) == {f"{where}.rotation": 30.0}  # 3 times is not over 3
    assert values(turning((97, 96, 32), (1, 1, 3))) == {f"{where}.planar": True, f"{where}.rotation": 180.0}
    assert values(turning((32, 97, 96), (3, 1, 1))) == {f"{where}.rotation": 0.0}
    assert values(turning((32, 97, 97), (1, 1, 1))) == {f"{where}.rotation": 30.0}, "by spacing, as nnU-Net"


def test_a_whole_recipe() -> None:
    own = {"patch": (8, 8, 8), "spacing": (1, 1, 1), "steps": 7, "learning_rate": 0.1,
           "augmentation": {"scaling": 0.2, "noise": 0.5}}  # fmt: skip
    found = suggest_recipe(fingerprint(*FLAT), 8.0, own)
    recipe = parse(Recipe, found.recipe, "test")
    # 180 mm of slices at 5 mm are 36; 100 is halved to 50, 25, 13 and 7, so that 112 = 7 x 16 are taken; all fits
    assert found.median == (100.0, 100.0, 36.0) and recipe.patch == (112, 112, 36)
    assert recipe.batch == 2, "5 % of 11 volumes are half a volume"
    assert recipe.augmentation.noise == NNUNET["augmentation"]["noise"] and recipe.augmentation.scaling == 0
    assert (
        recipe.learning_rate == Recipe.model_fields["learning_rate"].default and "steps" not in found.recipe
    )
    assert all(rule.reason for rule in found.rules)
    assert len({rule.key for rule in found.rules}) == len(found.rules)


def test_tiny_volumes_get_a_patch_that_can_be_halved_twice() -> None:
    found = suggest_recipe(fingerprint(((9, 10, 11), (1.0, 1.0, 1.0)), ((9, 10, 11), (1.0, 1.0, 1.0))), 1.0)
    assert found.value("patch") == (16, 16, 16) and len(found.net.strides) == 3
