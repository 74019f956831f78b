from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize

from harness.data.resampling import (
    resample_cubic,
    resample_labels_linear,
    resample_linear,
    resample_nearest,
)

SHAPES = st.tuples(*[st.integers(1, 12)] * 3)


def zoomed(volume: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """Return scipy's resampling with the same outer faces."""
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume, factors, order=order, mode="nearest", grid_mode=True)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(old=SHAPES, new=SHAPES, seed=st.integers(0, 999))
def test_linear_equals_scipy(old: tuple[int, ...], new: tuple[int, ...], seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=old).astype(np.float32)
    np.testing.assert_allclose(resample_linear(volume, new), zoomed(volume, new, 1), atol=1e-4)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(old=SHAPES, new=SHAPES)
def test_nearest_takes_the_voxel_in_which_the_centre_lies(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    labels = np.arange(np.prod(old)).reshape(old)
    indices = [[int((i + 0.5) * o / n + 1e-9) for i in range(n)] for o, n in zip(old, new, strict=True)]
    np.testing.assert_array_equal(resample_nearest(labels, new), labels[np.ix_(*indices)])


def test_cubic_equals_scipy_where_spacing_is_even() -> None:
    volume = np.random.default_rng(0).normal(size=(8, 9, 7)).astype(np.float32)
    np.testing.assert_allclose(
        resample_cubic(volume, (10, 6, 9), (1, 1, 2)), zoomed(volume, (10, 6, 9), 3), atol=1e-4
    )


def test_cubic_does_not_mix_slices_that_are_far_apart() -> None:
    volume = np.random.default_rng(0).normal(size=(8, 9, 4)).astype(np.float32)
    result = resample_cubic(volume, (12, 6, 8), (1, 1, 5))
    for index in range(8):
        one = zoomed(volume[..., index // 2 : index // 2 + 1], (12, 6, 1), 3)[..., 0]
        np.testing.assert_allclose(result[..., index], one, atol=1e-4)


def skimage_cubic(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return scikit-image's resampling of order 3, as nnU-Net calls it: clipped to the range of its input."""
    cubic = resize(array.astype(float), shape, order=3, mode="edge", anti_aliasing=False, clip=True)
    return cubic.astype(np.float32)


def test_clipped_cubic_is_scikit_images_where_spacing_is_even() -> None:
    volume = (np.random.default_rng(0).normal(size=(12, 14, 9)) ** 3 * 300).astype(np.float32)
    for shape in ((17, 9, 13), (6, 20, 9)):
        found = resample_cubic(volume, shape, (1, 1, 1.5), clip=True)
        np.testing.assert_array_equal(found, skimage_cubic(volume, shape))
        beyond = resample_cubic(volume, shape, (1, 1, 1.5))
        assert np.array_equal(beyond.clip(volume.min(), volume.max()), found)


def test_clipped_cubic_stays_within_the_range_of_each_slice_that_is_far_from_others() -> None:
    """To the bit what nnU-Net does: slice by slice, then the nearest slice."""
    scale = np.array([1.0, 300.0, 20.0, 1000.0])
    volume = (np.random.default_rng(0).random((20, 23, 4)).round() * scale).astype(np.float32)
    found = resample_cubic(volume, (31, 17, 8), (1, 1, 5), clip=True)
    for index in range(8):
        one = skimage_cubic(volume[..., index // 2], (31, 17))
        np.testing.assert_array_equal(found[..., index], one)
    plain = resample_cubic(volume, (31, 17, 8), (1, 1, 5))
    assert plain.min() < -50 and plain.max() > 1050 and found.min() == 0 and found.max() == 1000


def test_slices_that_end_far_apart_are_not_mixed_either() -> None:
    """Slices of 5 mm at 2 mm in plane become slices of 7.5 mm at 2 mm."""
    volume = np.random.default_rng(0).normal(size=(6, 6, 12)).astype(np.float32)
    np.testing.assert_array_equal(resample_cubic(volume, (6, 6, 8), (2, 2, 5))[..., 0], volume[..., 0])
    mixed = resample_cubic(volume, (6, 6, 10), (2, 2, 5))  # slices of 6 mm
    np.testing.assert_allclose(mixed, zoomed(volume, (6, 6, 10), 3), atol=1e-4)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(old=SHAPES, new=SHAPES, seed=st.integers(0, 999))
def test_linear_labels_hold_half_of_a_voxel(old: tuple[int, ...], new: tuple[int, ...], seed: int) -> None:
    after = [o / n for o, n in zip(old, new, strict=True)]
    assume(max(after) <= 3 * min(after))
    labels = np.random.default_rng(seed).integers(0, 4, old).astype(np.uint8)
    found = resample_labels_linear(labels, new, (1, 1, 1))
    shares = np.stack([zoomed((labels == value).astype(np.float64), new, 1) for value in range(4)])
    for value in (1, 2, 3):
        assert (found[shares[value] > 0.5 + 1e-5] == value).all()
        assert (shares[value][found == value] > 0.5 - 1e-5).all()
    assert (shares[1:, found == 0] < 0.5 + 1e-5).all() and found.dtype == np.uint8


def test_linear_labels_do_not_mix_slices_that_are_far_apart() -> None:
    labels = np.zeros((6, 6, 4), np.uint8)
    labels[..., 1], labels[..., 2] = 1, 2
    found = resample_labels_linear(labels, (9, 9, 8), (1, 1, 5))
    assert [np.unique(found[..., index]).tolist() for index in range(8)] == [
        [k] for k in (0, 0, 1, 1, 2, 2, 0, 0)
    ]


def test_memory_order_does_not_matter() -> None:
    volume = np.random.default_rng(0).normal(size=(5, 6, 7))
    for resample in (resample_linear, resample_nearest):
        np.testing.assert_allclose(
            resample(np.asfortranarray(volume), (4, 9, 3)), resample(volume, (4, 9, 3)), atol=1e-5
        )
