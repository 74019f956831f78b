"""Intensities, and the way from a file to the cache and back to its grid."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data import preprocessing
from harness.data.datasets.contract import Case, Dataset, Volume
from harness.data.images import normalise
from harness.data.preprocessing import prepare
from harness.errors import UserError
from harness.parsing import parse
from harness.spec import Recipe, digest


class OneVolume(Dataset):
    """One volume, held in memory."""

    channels = ("MRI",)
    labels = {0: "background", 1: "one", 2: "two"}

    def __init__(self, image: Volume, label: Volume) -> None:
        self.volumes = image, label

    def image(self, case: Case) -> Volume:
        return self.volumes[0]

    def label(self, case: Case) -> Volume:
        return self.volumes[1]

    def content(self, case: Case) -> str:
        return str(hash(self.volumes[1].affine.tobytes()))


def recipe(spacing: tuple[float, float, float] = (1, 1, 1)) -> Recipe:
    return Recipe(patch=(8, 8, 8), spacing=spacing)


pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.mark.parametrize("rule", ["zscore", "zscore_clipped", "none"])
def test_intensity_rules(rule: str) -> None:
    values = np.random.default_rng(0).normal(100, 20, (10, 10, 10))
    values[0, 0, 0] = 1e6
    result = normalise(values, rule)
    if rule == "none":
        assert np.array_equal(result, values.astype(np.float32))
    else:
        assert abs(result.mean()) < 1e-4 and abs(result.std() - 1) < 1e-4
        assert (result.max() < 5) == (rule == "zscore_clipped")
    assert np.isfinite(normalise(np.full((3, 3, 3), 5.0), rule)).all()


def test_intensity_rules_of_ct_by_hand() -> None:
    values = np.array([-1000.0, -175.0, 37.5, 250.0, 3000.0]).reshape(1, 1, 5)
    np.testing.assert_allclose(normalise(values, "ct_soft_tissue").ravel(), [0, 0, 0.5, 1, 1], atol=1e-6)
    expected = (np.array([-958, -175, 37.5, 250, 326]) - 82.95) / 136.95
    np.testing.assert_allclose(normalise(values, "ct_synapse").ravel(), expected, atol=1e-5)


def test_skull_stripped_images_are_normalised_within_the_brain() -> None:
    values = np.zeros((4, 4, 4))
    values[1:3] = np.random.default_rng(0).normal(500, 50, (2, 4, 4))
    result = normalise(values, "zscore_nonzero")
    assert abs(result[1:3].mean()) < 1e-5 and abs(result[1:3].std() - 1) < 1e-5 and not result[[0, 3]].any()
    assert not normalise(np.zeros((2, 2, 2)), "zscore_nonzero").any()


AFFINES = {
    "plain": np.diag([1, 1, 1, 1]),
    "flipped": np.diag([-1, -1, 1, 1]),
    "permuted": np.array([[0, 1, 0, 3], [0, 0, 1, -2], [1, 0, 0, 5], [0, 0, 0, 1]]),
    "anisotropic and permuted": np.array([[0, 0, -2, 3], [0.5, 0, 0, -2], [0, 1, 0, 5], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("crop", ["none", "foreground"])
@pytest.mark.parametrize("name", AFFINES)
def test_labels_survive_the_way_to_the_cache_and_back(name: str, crop: str) -> None:
    affine = AFFINES[name].astype(float)
    labels = np.zeros((16, 20, 24), np.uint8)
    labels[2:9, 4:14, 6:20], labels[9:14, 4:14, 6:20] = 1, 2
    image = labels[None].astype(np.float32)
    dataset = OneVolume(Volume(image, affine), Volume(labels, affine))
    chosen = recipe().model_copy(update={"crop": crop})
    cache = prepare(dataset, f"one {name}", [Case("c", "c")], chosen)
    assert cache.image("c").shape[1:] == cache.label("c").shape
    if crop == "foreground" and "anisotropic" not in name:
        assert sorted(cache.label("c").shape) == [10, 12, 14]  # the box of the labels, which are the image
    one_hot = np.stack([(cache.label("c") == k).astype(np.float32) for k in range(3)])
    back = cache.to_native("c", one_hot)
    reference = cache.native_reference("c")
    assert back.array.shape == labels.shape and np.array_equal(back.affine, affine)
    assert np.array_equal(reference.array, labels)
    agreement = 2 * ((back.array > 0) & (labels > 0)).sum() / ((back.array > 0).sum() + (labels > 0).sum())
    assert agreement > (0.9 if "anisotropic" in name else 0.9999)


def test_resampling_gives_the_spacing_that_was_asked_for() -> None:
    labels = np.zeros((20, 20, 10), np.uint8)
    labels[5:15, 5:15, 2:8] = 1
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    dataset = OneVolume(Volume(labels[None].astype(np.float32), affine), Volume(labels, affine))
    cache = prepare(dataset, "resampled", [Case("c", "c")], recipe((2, 2, 1)))
    assert cache.label("c").shape == (10, 10, 30)
    volume = cache.label("c").sum() * 4
    assert abs(volume - labels.sum() * 3) / (labels.sum() * 3) < 0.1


class Declared(OneVolume):
    """One volume whose files' numbers are not those of training."""

    labels = {0: "background", 205: "a", 850: "b"}

    def __init__(self, image: Volume, label: Volume, ignore: int | None = None) -> None:
        super().__init__(image, label)
        self.ignore = ignore


def blocks(ignored: bool) -> np.ndarray:
    """Return the files' labels of two blocks, and of ignored voxels above them, on a grid of 16 x 20 x 24."""
    labels = np.zeros((16, 20, 24), np.int16)
    labels[2:9, 4:14, 6:20], labels[9:14, 4:14, 6:20] = 205, 850
    if ignored:
        labels[:, :, 16:] = 7
    return labels


def in_training_numbers(labels: np.ndarray) -> np.ndarray:
    return np.select([labels == 205, labels == 850, labels == 7], [1, 2, 255], 0)


@pytest.mark.parametrize("rule", ["nearest", "linear"])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_cache_has_training_numbers_and_no_centre_of_a_patch_is_ignored(ignored: bool, rule: str) -> None:
    labels, affine = blocks(ignored), np.diag([1.0, 1.0, 1.0, 1.0])
    volumes = Volume(labels[None].astype(np.float32), affine), Volume(labels, affine)
    dataset = Declared(*volumes, ignore=7 if ignored else None)
    chosen = recipe((2, 2, 2)).model_copy(update={"label_resampling": rule})
    cache = prepare(dataset, f"declared {rule} {ignored}", [Case("c", "c")], chosen)
    cached, reference = np.asarray(cache.label("c")), cache.native_reference("c").array
    assert cached.dtype == reference.dtype == np.uint8
    wanted = in_training_numbers(labels)
    assert np.array_equal(reference, wanted)
    if rule == "nearest":
        expected = wanted[1::2, 1::2, 1::2]
    else:  # of each cube of 2 x 2 x 2 voxels the label that has half of it or more; the higher one of two
        cubes = wanted.reshape(8, 2, 10, 2, 12, 2)
        expected = np.zeros((8, 10, 12), int)
        for value in (1, 2, 255):
            expected[(cubes == value).mean(axis=(1, 3, 5)) >= 0.5] = value
    assert np.array_equal(cached, expected) and (255 in cached) == ignored
    rows = cache.foreground("c")
    assert set(rows[:, 0].tolist()) == {1, 2}
    for value in (1, 2):
        assert np.array_equal(rows[rows[:, 0] == value, 1:], np.argwhere(expected == value))


def test_a_case_without_any_counted_label_has_no_centres() -> None:
    labels = np.full((16, 20, 24), 7, np.uint8)
    affine = np.eye(4)
    dataset = Declared(Volume(labels[None].astype(np.float32), affine), Volume(labels, affine), ignore=7)
    cache = prepare(dataset, "ignored everywhere", [Case("c", "c")], recipe())
    assert cache.foreground("c").shape == (0, 4) and (cache.label("c") == 255).all()


def test_a_label_that_is_255_is_no_ignored_one() -> None:
    labels = np.zeros((16, 20, 24), np.uint8)
    labels[3:5, 3:5, 3:5] = 255
    dataset = OneVolume(Volume(labels[None].astype(np.float32), np.eye(4)), Volume(labels, np.eye(4)))
    dataset.labels = {0: "background", 255: "one"}  # type: ignore[misc]
    cache = prepare(dataset, "255 is a label", [Case("c", "c")], recipe())
    assert np.array_equal(cache.foreground("c")[:, 1:], np.argwhere(labels == 255))


def test_undeclared_labels_of_a_dataset_of_ones_own_are_refused_and_not_taken_modulo_256() -> None:
    labels = np.zeros((16, 20, 24), np.int16)
    labels[3, 3, 3] = 257
    dataset = OneVolume(Volume(labels[None].astype(np.float32), np.eye(4)), Volume(labels, np.eye(4)))
    with pytest.raises(UserError, match="c: found label values \\[257\\]"):
        prepare(dataset, "undeclared", [Case("c", "c")], recipe())


def test_a_cache_of_byte_labels_is_found_where_it_always_was() -> None:
    labels, chosen = np.zeros((16, 20, 24), np.uint8), recipe()
    volumes = Volume(labels[None].astype(np.float32), np.eye(4)), Volume(labels, np.eye(4))
    contents = {"c": OneVolume(*volumes).content(Case("c", "c"))}
    rules = [chosen.spacing, chosen.intensity, chosen.crop, chosen.resampling, chosen.label_resampling]
    key = digest([preprocessing._VERSION, "plain", 1, *rules, contents])
    assert prepare(OneVolume(*volumes), "plain", [Case("c", "c")], chosen).folder.name == f"plain-{key}"
    of_ignored = {
        prepare(Declared(*volumes, ignore=n), "plain", [Case("c", "c")], chosen).folder for n in (None, 7, 9)
    }
    assert len(of_ignored) == 3


def test_ct_by_levels_of_a_dataset_by_hand() -> None:
    values = np.array([-1000.0, 0.0, 50.0, 3000.0]).reshape(1, 1, 4)
    found = normalise(values, "ct", (-100.0, 300.0, 80.0, 50.0)).ravel()
    np.testing.assert_allclose(found, [-3.6, -1.6, -0.6, 4.4], atol=1e-6)
    for wrong, said in (
        ({"intensity": "ct"}, "intensity_levels.*lowest, highest"),
        ({"intensity_levels": (0, 1, 0, 1)}, "intensity_levels.*none: intensity is zscore_clipped"),
        ({"intensity": "ct", "intensity_levels": (1, 1, 0, 1)}, "a lowest intensity below the highest"),
    ):
        with pytest.raises(UserError, match=said):
            parse(Recipe, {"patch": (8, 8, 8), "spacing": (1, 1, 1), **wrong}, "test")
