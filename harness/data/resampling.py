"""Volumes on another grid whose outer faces are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

Shape = tuple[int, ...]
_ANISOTROPIC = 3.0  # spacing across slices to that within, above which slices are not mixed (nnU-Net's rule)


def resample_linear(volume: NDArray[Any], shape: Shape) -> NDArray[np.float32]:
    """Return ``volume`` ``(X, Y, Z)`` on a grid of ``shape``, trilinear, with the border continued outwards."""
    if volume.flags.f_contiguous and not volume.flags.c_contiguous:  # as nibabel reads: a copy costs more
        return resample_linear(volume.T, shape[::-1]).T
    source = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None, None]
    resampled = torch.nn.functional.interpolate(source, size=shape, mode="trilinear", align_corners=False)
    return resampled[0, 0].numpy()


def resample_cubic(volume: NDArray[Any], shape: Shape, spacing: Sequence[float]) -> NDArray[np.float32]:
    """Return ``volume`` on a grid of ``shape``, by cubic splines.

    Where the spacing of one axis is more than three times the smallest, splines run within the slices across
    it, and the nearest slice is taken (nnU-Net, Isensee et al., Nature Methods 2021).

    Args:
        volume: ``(X, Y, Z)``.
        shape: wanted.
        spacing: of ``volume``, mm.
    """
    within = list(shape)
    coarsest = int(np.argmax(spacing))
    apart = max(spacing) > _ANISOTROPIC * min(spacing)
    if apart:
        within[coarsest] = volume.shape[coarsest]
    factors = [new / old for new, old in zip(within, volume.shape, strict=True)]
    resampled = ndimage.zoom(np.asarray(volume, np.float32), factors, order=3, mode="nearest", grid_mode=True)
    return _take_nearest(resampled, coarsest, shape[coarsest]) if apart else resampled


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
    nearest = ((2 * np.arange(size) + 1) * old) // (2 * size)  # in whole numbers: no rounding decides
    return np.take(volume, nearest, axis=axis)
