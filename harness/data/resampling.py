"""Volumes on another grid whose outer faces are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]
_ANISOTROPIC = 3.0  # spacing across slices to that within, above which slices are not mixed (nnU-Net's rule)


def resample_linear(volume: NDArray[Any], shape: Shape) -> NDArray[np.float32]:
    """Return ``volume`` ``(X, Y, Z)`` on a grid of ``shape``, trilinear, with the border continued outwards."""
    if volume.flags.f_contiguous and not volume.flags.c_contiguous:  # as nibabel reads: a copy costs more
        return resample_linear(volume.T, shape[::-1]).T
    import torch

    source = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None, None]
    resampled = torch.nn.functional.interpolate(source, size=shape, mode="trilinear", align_corners=False)
    return resampled[0, 0].numpy()


def resample_cubic(
    volume: NDArray[Any], shape: Shape, spacing: Sequence[float], clip: bool = False
) -> NDArray[np.float32]:
    """Return ``volume`` on a grid of ``shape``, by cubic splines.

    Where the spacing of one axis, before or after, is more than three times the smallest, splines run within
    the slices across it, and the nearest slice is taken (nnU-Net, Isensee et al., Nature Methods 2021).

    Args:
        volume: ``(X, Y, Z)``.
        shape: wanted.
        spacing: of ``volume``, mm.
        clip: to the range of ``volume``, or of each slice where splines run within slices, as nnU-Net does: near an
            edge a spline goes beyond it.
    """
    axis = _slice_axis(volume.shape, shape, spacing)
    within = tuple(other for other in range(3) if other != axis)

    def cubic(array: NDArray[Any], to: Shape) -> NDArray[np.float32]:
        array = np.asarray(array, np.float32)
        factors = [new / old for new, old in zip(to, array.shape, strict=True)]
        zoomed = ndimage.zoom(array, factors, order=3, mode="nearest", grid_mode=True)
        if not clip:
            return zoomed
        return zoomed.clip(array.min(axis=within, keepdims=True), array.max(axis=within, keepdims=True))

    return _by_slices(volume, shape, axis, cubic)


def resample_within_slices(
    volume: NDArray[Any], shape: Shape, spacing: Sequence[float]
) -> NDArray[np.float32]:
    """Return ``volume`` on a grid of ``shape``, trilinear, but where slices are far apart the nearest one of them.

    So nnU-Net brings probabilities back to an image's grid: slices are far apart where the spacing of one axis, of the
    image or else of ``volume``, is more than three times the smallest.

    Args:
        volume: ``(X, Y, Z)``.
        shape: of the image.
        spacing: of the image, mm.
    """
    axis = _slice_axis(shape, volume.shape, spacing)
    return _by_slices(volume, shape, axis, resample_linear)


def resample_labels_linear(volume: NDArray[Any], shape: Shape, spacing: Sequence[float]) -> NDArray[Any]:
    """Return labels on a grid of ``shape``: that which holds half of a voxel or more by trilinear interpolation.

    Where no label does, it is background. Slices that are far apart are not mixed, as in :func:`resample_cubic`.

    Args:
        volume: ``(X, Y, Z)``.
        shape: wanted.
        spacing: of ``volume``, mm.
    """

    def linear(array: NDArray[Any], to: Shape) -> NDArray[Any]:
        labels = np.zeros(to, array.dtype)
        for value in np.unique(array[array != 0]).tolist():
            labels[resample_linear(array == value, to) >= 0.5] = value
        return labels

    return _within_slices(volume, shape, spacing, linear)


def most_probable_on(
    probabilities: Tensor, shape: Shape, spacing: Sequence[float] | None, planes: int = 8
) -> NDArray[np.uint8]:
    """Return the most probable class ``(X, Y, Z)``, the first of equals, on a grid of ``shape``.

    It is computed where the probabilities are, some planes at a time; up to rounding by :func:`resample_linear`, or with a
    spacing by :func:`resample_within_slices`.

    Args:
        probabilities: ``(K, x, y, z)`` float32, on any device.
        shape: of the image.
        spacing: of the image, mm; None: slices that are far apart are mixed as others are.
        planes: that are resampled at a time.
    """
    import torch
    from torch.nn.functional import interpolate

    old = tuple(probabilities.shape[1:])
    axis = None if spacing is None else _slice_axis(shape, old, spacing)
    lower, upper, share = _neighbours(old[0], shape[0])
    if axis == 0:
        lower = upper = _nearest(old[0], shape[0])
        share = np.zeros(shape[0], np.float32)
    within = [old[other] if other == axis else shape[other] for other in (1, 2)]
    labels = np.empty(shape, np.uint8)
    for first in range(0, shape[0], planes):
        last = min(first + planes, shape[0])
        begin, end = int(lower[first]), int(upper[last - 1]) + 1
        wide = probabilities[:, begin:end].transpose(0, 1)  # (planes, K, y, z)
        wide = interpolate(wide, size=within, mode="bilinear", align_corners=False)
        if axis in (1, 2):
            nearest = torch.from_numpy(_nearest(old[axis], shape[axis])).to(wide.device)
            wide = wide.index_select(axis + 1, nearest)
        weight = torch.from_numpy(share[first:last]).to(wide.device)[:, None, None, None]
        below, above = (torch.from_numpy(own[first:last] - begin).to(wide.device) for own in (lower, upper))
        mixed = torch.lerp(wide[below], wide[above], weight)
        labels[first:last] = mixed.argmax(dim=1).to(torch.uint8).cpu().numpy()
    return labels


def _neighbours(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the two voxels that each new centre lies between along an axis, and the share of the second."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    lower = places.astype(np.int64)
    return lower, np.minimum(lower + 1, old - 1), (places - lower).astype(np.float32)


def _within_slices(
    volume: NDArray[Any],
    shape: Shape,
    spacing: Sequence[float],
    resample: Callable[[NDArray[Any], Shape], NDArray[Any]],
) -> NDArray[Any]:
    """Apply ``resample`` to a volume of ``spacing``, or to its slices where they are far apart."""
    return _by_slices(volume, shape, _slice_axis(volume.shape, shape, spacing), resample)


def _by_slices(
    volume: NDArray[Any],
    shape: Shape,
    axis: int | None,
    resample: Callable[[NDArray[Any], Shape], NDArray[Any]],
) -> NDArray[Any]:
    """Apply ``resample`` within the slices across an axis, and take the nearest of them; without one, to the volume."""
    if axis is None:
        return resample(volume, shape)
    within = (*shape[:axis], volume.shape[axis], *shape[axis + 1 :])
    return _take_nearest(resample(volume, within), axis, shape[axis])


def _slice_axis(old: Shape, new: Shape, spacing: Sequence[float]) -> int | None:
    """Return the axis along which slices are far apart, in the old grid or else in the new one; None if there is no such axis, or more than one."""
    after = [size * o / n for size, o, n in zip(spacing, old, new, strict=True)]
    for sizes in (list(spacing), after):
        if max(sizes) > _ANISOTROPIC * min(sizes):
            return int(np.argmax(sizes)) if sizes.count(max(sizes)) == 1 else None
    return None


def resample_nearest(volume: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Return ``volume`` ``(X, Y, Z)`` on a grid of ``shape``, each voxel that of the nearest; for labels."""
    axes = sorted(range(3), key=lambda axis: -volume.strides[axis])  # the cheapest first
    for axis in axes:
        volume = _take_nearest(volume, axis, shape[axis])
    return volume


def _take_nearest(volume: NDArray[Any], axis: int, size: int) -> NDArray[Any]:
    """Return the voxels along an axis in which the centres of ``size`` new ones lie."""
    old = volume.shape[axis]
    if old == size:
        return volume
    return np.take(volume, _nearest(old, size), axis=axis)


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """Return the voxel along an axis in which each new centre lies."""
    return ((2 * np.arange(new) + 1) * old) // (2 * new)  # in whole numbers: no rounding decides
