"""The way back to an image's file: which label, on which voxel, by which interpolation."""

from __future__ import annotations

from collections.abc import Iterator

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.native_grid import NativeGrid, mean_of, most_probable
from harness.data.resampling import resample_within_slices

Sides = tuple[int, int, int]


def grid(shape: Sides, spacing: tuple[float, float, float], box: tuple | None = None) -> NativeGrid:
    whole = tuple((0, side) for side in shape)
    return NativeGrid(np.diag([*spacing, 1.0]), spacing, shape, box or whole)


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random(shape).astype(np.float32)


def zoomed(array: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Return SciPy's linear interpolation with the same outer faces; skimage's resize of order 1 and mode edge is the same."""
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    return ndimage.zoom(array, factors, order=1, mode="nearest", grid_mode=True)


def exported(array: NDArray, shape: Sides, axis: int) -> NDArray:
    """Return nnU-Net's export by SciPy: slices across an axis one by one, then the nearest by map_coordinates."""
    slices = np.moveaxis(array, axis, 0)
    flat = tuple(side for index, side in enumerate(shape) if index != axis)
    within = np.stack([zoomed(one, flat) for one in slices])
    places = len(within) / shape[axis] * (np.arange(shape[axis]) + 0.5) - 0.5
    grids = np.meshgrid(places, *[np.arange(side) for side in flat], indexing="ij")
    return np.moveaxis(ndimage.map_coordinates(within, grids, order=0, mode="nearest"), 0, axis)


@pytest.mark.parametrize(
    ("old", "new", "spacing", "axis"),
    [
        ((12, 10, 6), (20, 17, 9), (0.8, 0.8, 5.0), 2),  # the file's slices are far apart
        ((6, 12, 10), (11, 20, 17), (7.0, 0.8, 0.9), 0),  # along another axis
        ((12, 10, 20), (12, 13, 20), (1.0, 1.0, 3.0), None),  # three times is not more than three times
        ((30, 30, 4), (30, 30, 9), (1.0, 1.0, 2.0), 2),  # the network's are: 4.5 mm
        ((12, 11, 10), (9, 16, 12), (1.0, 1.2, 0.9), None),
        ((12, 4, 5), (20, 8, 9), (0.3, 1.25, 1.25), None),  # two axes are coarse: no slices
    ],
)
def test_probabilities_go_back_as_nnunet_exports_them(
    old: Sides, new: Sides, spacing: tuple[float, float, float], axis: int | None
) -> None:
    channel = noise(*old)
    expected = zoomed(channel, new) if axis is None else exported(channel, new, axis)
    found = resample_within_slices(channel, new, spacing)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    linear = grid(new, spacing).resampled(channel, "linear")
    np.testing.assert_allclose(linear, zoomed(channel, new), atol=1e-5)
    assert (abs(linear - found).max() > 0.05) == (axis is not None)
    np.testing.assert_array_equal(grid(new, spacing).resampled(channel, "within_slices"), found)


def test_each_voxel_gets_the_first_of_its_highest_classes() -> None:
    channels = np.random.default_rng(1).integers(0, 3, (5, 7, 6, 4)).astype(np.float32)  # many ties
    labels = most_probable(channels)
    np.testing.assert_array_equal(labels, channels.argmax(axis=0))
    assert labels.dtype == np.uint8


def test_what_was_cropped_away_is_background() -> None:
    cropped = grid((8, 7, 6), (1.0, 1.0, 1.0), ((2, 6), (1, 7), (0, 5)))
    channels = np.stack([np.zeros((4, 6, 5)), np.ones((4, 6, 5))]).astype(np.float32)
    labels, native = cropped.labels(channels, "linear"), list(cropped.native(channels, "linear"))
    inside = np.zeros((8, 7, 6), bool)
    inside[2:6, 1:7, :5] = True
    np.testing.assert_array_equal(labels, inside)
    np.testing.assert_array_equal(native[0], ~inside)
    np.testing.assert_array_equal(native[1], inside)


def test_labels_lie_along_the_axes_of_the_file() -> None:
    affine = np.array([[0, 0, -2.0, 3], [0.5, 0, 0, -2], [0, 1.0, 0, 5], [0, 0, 0, 1]])
    file = nibabel.Nifti1Image(noise(4, 5, 6), affine)
    ras = nibabel.as_closest_canonical(file).get_fdata()
    turned = NativeGrid(affine, (0.5, 1.0, 2.0), (4, 5, 6), tuple((0, side) for side in ras.shape))
    assert turned.ras_shape == ras.shape and turned.ras_spacing == [2.0, 0.5, 1.0]
    labels = turned.labels(np.stack([np.full(ras.shape, 0.5), ras]).astype(np.float32), "linear")
    np.testing.assert_array_equal(labels, file.get_fdata() > 0.5)


def test_the_mean_of_several_networks() -> None:
    one, other = noise(3, 4, 4, 4), 1 - noise(3, 4, 4, 4)
    np.testing.assert_allclose(list(mean_of([one, other, other])), (one + 2 * other) / 3, rtol=1e-6)
    np.testing.assert_array_equal(list(mean_of([one])), one)


class Held:
    """Probabilities that lie on a device: here on the CPU, so that the way of a GPU is taken everywhere."""

    def __init__(self, array: NDArray) -> None:
        self.held = torch.from_numpy(array)

    def __iter__(self) -> Iterator[NDArray]:
        raise AssertionError("they are not to be moved")


@pytest.mark.parametrize("rule", ["linear", "within_slices"])
@pytest.mark.parametrize(
    ("old", "new", "spacing"),
    [
        ((20, 31, 17), (33, 50, 9), (1.0, 1.0, 1.0)),
        ((30, 20, 10), (15, 40, 40), (1.0, 1.0, 1.0)),
        ((12, 20, 16), (30, 30, 5), (1.0, 1.0, 6.0)),
        ((12, 20, 16), (7, 30, 24), (5.0, 1.0, 1.0)),
        ((12, 9, 16), (24, 5, 24), (1.0, 7.0, 1.0)),
        ((8, 8, 8), (8, 8, 8), (1.0, 1.0, 1.0)),
    ],
)
def test_on_a_device_labels_are_the_same_but_for_ties(
    old: Sides, new: Sides, spacing: tuple, rule: str
) -> None:
    array = noise(4, *old)
    array /= array.sum(axis=0)
    box = tuple((2, side + 2) for side in new)
    whole = grid(tuple(side + 3 for side in new), spacing, box)  # type: ignore[arg-type]
    expected = whole.labels(array, rule)
    found = whole.labels(Held(array), rule)
    first, second = np.sort(np.stack([whole.resampled(one, rule) for one in array]), axis=0)[[-1, -2]]
    clear = np.ones(expected.shape, bool)
    clear[whole.kept] = first - second > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert (found[0] == 0).all()


def test_on_a_device_the_first_of_equals_counts() -> None:
    assert (
        grid((4, 4, 4), (1.0, 1.0, 1.0))
        .labels(Held(np.full((3, 4, 4, 4), 1 / 3, np.float32)), "linear")
        .max()
        == 0
    )
