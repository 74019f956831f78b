from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from harness.data.resampling import resample_cubic, resample_linear, resample_nearest

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


def test_memory_order_does_not_matter() -> None:
    volume = np.random.default_rng(0).normal(size=(5, 6, 7))
    for resample in (resample_linear, resample_nearest):
        np.testing.assert_allclose(
            resample(np.asfortranarray(volume), (4, 9, 3)), resample(volume, (4, 9, 3)), atol=1e-5
        )
