"""Augmentation: what it changes, what it leaves, and turns against an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.affine import draw_affine
from harness.data.augmentation import Augmenter
from harness.spec import Augmentation, Recipe
from tests.unit.data.test_patch_sampler import sampler

EVERYTHING = Augmentation(
    mirror_axes=(0,), affine_probability=1.0, rotation=15.0, scaling=0.15,
    noise_probability=1.0, intensity_probability=1.0, blur_probability=1.0, brightness_probability=1.0,
    contrast_probability=1.0, low_resolution_probability=1.0, inverted_gamma_probability=1.0,
    gamma_probability=1.0,
)  # fmt: skip


def everything(version: int) -> Augmentation:
    return EVERYTHING.model_copy(update={"version": version})


OF_INTENSITY = [name for name in Augmentation.model_fields if name.endswith("_probability")
                and name not in ("mirror_probability", "affine_probability", "rotate90_probability")]  # fmt: skip


def patches() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    labels = np.zeros((2, 1, 10, 8, 6), np.uint8)
    labels[:, :, 2:8, 2:5, 1:4], labels[:, :, 6:9, 5:7, 3:5] = 2, 7
    return rng.normal(size=(2, 1, 10, 8, 6)).astype(np.float32) + labels, labels


@pytest.mark.parametrize("version", [1, 2])
def test_augmentation_is_a_function_of_seed_and_step_alone(version: int) -> None:
    settings = everything(version)
    one, other = Augmenter(settings, seed=3), Augmenter(settings, seed=3)
    forwards = [one(*patches(), step) for step in range(4)]
    torch.rand(5, generator=torch.manual_seed(1))  # whatever else is drawn
    backwards = [other(*patches(), step) for step in reversed(range(4))][::-1]
    for (image, label), (again, label_again) in zip(forwards, backwards, strict=True):
        assert torch.equal(image, again) and torch.equal(label, label_again)
    assert not torch.equal(forwards[0][0], forwards[1][0])
    assert not torch.equal(forwards[0][0], Augmenter(settings, seed=4)(*patches(), 0)[0])


@pytest.mark.parametrize("version", [1, 2])
def test_a_sample_is_changed_in_the_same_way_whatever_the_batch(version: int) -> None:
    augment, (images, labels) = Augmenter(everything(version), seed=3), patches()
    together = augment(images, labels, 5)
    for index in range(2):
        image, label = augment(images[index : index + 1], labels[index : index + 1], 10 + index)
        assert torch.equal(together[0][index], image[0]) and torch.equal(together[1][index], label[0])


@pytest.mark.parametrize("version", [1, 2])
def test_labels_keep_their_values_and_stay_on_the_image(version: int) -> None:
    spatial = everything(version).model_copy(update=dict.fromkeys(OF_INTENSITY, 0.0))
    augment, (_, labels) = Augmenter(spatial, 0), patches()
    moved = 0
    for step in range(10):
        image, label = augment(labels.astype(np.float32), labels, step)
        assert label.dtype == torch.uint8 and label.shape == (2, 1, 10, 8, 6)
        assert set(label.unique().tolist()) <= {0, 2, 7}
        moved += not torch.equal(label, torch.from_numpy(labels))
        # the image is the label map itself, so both must have moved together
        together = np.corrcoef(image.numpy().ravel(), label.numpy().ravel())[0, 1]
        assert together > 0.8
    assert moved == 10


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", OF_INTENSITY)
def test_every_change_of_intensity_changes_the_image_alone(name: str, version: int) -> None:
    images, labels = patches()
    changed, kept = Augmenter(Augmentation(version=version, **{name: 1.0}), 0)(images, labels, 0)
    assert changed.shape == images.shape and torch.isfinite(changed).all()
    assert not torch.allclose(changed, torch.from_numpy(images)) and np.array_equal(kept, labels)


def test_a_batch_is_the_same_where_it_is_written_to_given_memory() -> None:
    augment, (images, labels) = Augmenter(everything(2), seed=3), patches()
    for step in range(4):
        place = {"image": torch.full(images.shape, torch.nan), "label": torch.full(labels.shape, 255).byte()}
        found = augment(images, labels, step, into=place)
        assert found[0] is place["image"] and found[1] is place["label"]
        assert all(torch.equal(*pair) for pair in zip(found, augment(images, labels, step), strict=True))


@pytest.mark.parametrize("version", [1, 2])
def test_planar_transforms_do_not_mix_slices(version: int) -> None:
    labels = np.zeros((1, 1, 12, 12, 6), np.uint8)
    labels[..., 3:9, 2:8, 2] = 1
    turning = Augmentation(affine_probability=1.0, rotation=30.0, scaling=0.2, planar=True, version=version)
    for step in range(5):
        _, moved = Augmenter(turning, 0)(labels.astype(np.float32), labels, step)
        filled = moved[0, 0].sum(dim=(0, 1)).nonzero().ravel().tolist()
        assert filled == [2] and not np.array_equal(moved, labels)


TURNED = Augmentation(affine_probability=1.0, rotation=30.0, scale_range=(0.7, 1.4), enlarge=True)


def test_a_turn_equals_scipys_and_its_margin_is_what_it_needs() -> None:
    patch = (12, 10, 8)
    for number in range(20):
        turn = draw_affine(TURNED, 0, "test", number)
        assert turn is not None
        margin = turn.margin(patch)
        wide = [side + 2 * more for side, more in zip(patch, margin, strict=True)]
        volume = np.random.default_rng(number).normal(size=wide).astype(np.float32)
        start = (np.array(wide) - 1) / 2 - turn.matrix @ ((np.array(patch) - 1) / 2)
        expected = ndimage.affine_transform(volume, turn.matrix, start, patch, order=1, mode="constant")
        given = torch.from_numpy(volume)[None]
        turned = turn.apply(given, patch, "bilinear")
        np.testing.assert_allclose(turned[0].numpy(), expected, atol=1e-4)
        linear, nearest = turn.apply_to_all([(given, "bilinear"), (given, "nearest")], patch)
        np.testing.assert_allclose(linear[0].numpy(), expected, atol=1e-4)
        other = (nearest != turn.apply(given, patch, "nearest")).float().mean()
        assert other < 0.003, "more voxels than rounding explains are others"
        whole = turn.apply(torch.ones(1, *wide), patch, "bilinear")
        assert whole.min() > 0.999, "a corner is empty"
        if any(margin):
            narrow = torch.ones(1, *(max(side - 2, 1) for side in wide))
            assert turn.apply(narrow, patch, "bilinear").min() < 0.999, (
                "the margin is wider than it has to be"
            )


@pytest.mark.parametrize("version", [1, 2])
def test_turned_patches_have_no_empty_corner_and_others_are_untouched(version: int) -> None:
    settings = TURNED.model_copy(update={"affine_probability": 0.3, "version": version})
    large = {"1": np.ones((60, 60, 60), np.uint8)}
    draws, augment = sampler(large, foreground=0.0, patch=(16, 12, 8)), Augmenter(settings, 0)
    kinds = set()
    for step in range(30):
        margins = augment.margins((16, 12, 8), 2, step)
        images, labels = draws.pieces(step, margins)
        image, label = augment(images, labels, step, margins)
        assert image.shape == (2, 2, 16, 12, 8) and label.shape == (2, 1, 16, 12, 8)
        far = [bool((one[1, [0, -1]] == 0).any()) for one in images]  # the margin reaches out of the volume
        plain = draws.draw(step)[0]
        for index in range(2):
            same = np.array_equal(image[index], plain[index])
            assert same == (augment._affine(2 * step + index) is None)
            kinds.add((same, any(margins[index])))
            if not far[index]:
                assert label[index].min() == 1
    # version 1 cuts all patches of a batch alike
    assert {(True, False), (False, True)} <= kinds and ((True, True) in kinds) == (version == 1)
    assert Augmenter(TURNED.model_copy(update={"enlarge": False}), 0).margins((16, 12, 8), 1, 0) == [
        (0, 0, 0)
    ]


def test_rotation_and_scaling_come_apart_with_one_factor_for_all_axes() -> None:
    settings = TURNED.model_copy(update={"affine_probability": 0.2})
    turns = [draw_affine(settings, 0, "test", number) for number in range(4000)]
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
        turn = draw_affine(flat, 0, "test", number)
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


@pytest.mark.parametrize("version", [1, 2])
def test_quarter_turns_keep_every_voxel_and_need_a_square_patch(version: int) -> None:
    images = np.random.default_rng(0).normal(size=(1, 1, 6, 6, 4)).astype(np.float32)
    turned, _ = Augmenter(Augmentation(rotate90_probability=1.0, version=version), 0)(
        images, images.astype(np.uint8), 0
    )
    assert any(np.array_equal(turned[0, 0], np.rot90(images[0, 0], k)) for k in (1, 2, 3))
    with pytest.raises(ValueError, match="equal first two sides"):
        Recipe(patch=(8, 6, 4), spacing=(1, 1, 1), augmentation=Augmentation(rotate90_probability=0.1))


@pytest.mark.parametrize("version", [1, 2])
def test_the_input_of_augmentation_is_left_as_it_is(version: int) -> None:
    images, labels = patches()
    images.flags.writeable = labels.flags.writeable = False  # as those of a cache
    Augmenter(everything(version), 0)(images, labels, 0)
    np.testing.assert_array_equal(images, patches()[0])
    np.testing.assert_array_equal(labels, patches()[1])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 1)])
def test_only_allowed_axes_are_mirrored(axes: tuple[int, ...], version: int) -> None:
    augment = Augmenter(Augmentation(mirror_axes=axes, version=version), seed=0)
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


@pytest.mark.parametrize("version", [1, 2])
def test_without_settings_nothing_changes(version: int) -> None:
    for nothing in (
        Augmentation(version=version),
        Augmentation(affine_probability=1.0, version=version),
        Augmentation(mirror_axes=(0,), mirror_probability=0, version=version),
    ):
        image, label = Augmenter(nothing, 0)(*patches(), 0)
        np.testing.assert_array_equal(image.numpy(), patches()[0])
        np.testing.assert_array_equal(label.numpy(), patches()[1])


def test_noise_and_intensity_leave_labels_alone() -> None:
    augment = Augmenter(Augmentation(noise_probability=1.0, intensity_probability=1.0), 0)
    image, label = augment(*patches(), 0)
    assert not np.array_equal(image.numpy(), patches()[0])
    np.testing.assert_array_equal(label.numpy(), patches()[1])
