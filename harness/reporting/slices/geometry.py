"""Orientation of volumes, and the parts of them that figures show."""

from __future__ import annotations

import nibabel.orientations as orientations
import numpy as np
from numpy.typing import NDArray

_LEAST_ZOOM, _MOST_ZOOM = 0.2, 0.5
"""Bounds of the enlarged part's sides, as shares of the slice's."""


def error_map(reference: NDArray[np.uint8], label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 where the reference alone has a label, 2 where ``label`` alone has, 3 where they differ, else 0."""
    errors = np.zeros(reference.shape, np.uint8)
    errors[(reference > 0) & (label == 0)] = 1
    errors[(reference == 0) & (label > 0)] = 2
    errors[(reference > 0) & (label > 0) & (reference != label)] = 3
    return errors


def zoom_box(labelled: NDArray[np.bool_], wrong: NDArray[np.int64]) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of the part of a slice with most errors; its middle where there are none.

    It has the slice's shape. Its sides are 0.6 of the labelled part's, and between 0.2 and 0.5 of the slice's.

    Args:
        labelled: ``(rows, columns)``, of the reference.
        wrong: ``(rows, columns)``, how many arms err in each pixel.
    """
    places = [np.flatnonzero(labelled.any(axis=1 - axis)) for axis in (0, 1)]
    spans = [(p[-1] - p[0] + 1) / size for p, size in zip(places, wrong.shape, strict=True) if len(p)]
    share = float(np.clip(0.6 * max(spans, default=1.0), _LEAST_ZOOM, _MOST_ZOOM))
    height, width = (max(1, round(share * size)) for size in wrong.shape)
    if wrong.any():
        sums = np.pad(wrong, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
        inside = (
            sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        )
        fullest = np.argwhere(inside == inside.max())
        top, left = (int(place) for place in fullest[len(fullest) // 2])
    else:
        top, left = (wrong.shape[0] - height) // 2, (wrong.shape[1] - width) // 2
    return top, top + height, left, left + width


def to_ras(
    array: NDArray[np.uint8], affine: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    """Return ``array`` ``(X, Y, Z)`` with axes to the right, anterior and superior, and its spacing, mm."""
    orientation = orientations.io_orientation(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = spacing[np.argsort(orientation[:, 0])].tolist()
    return np.asarray(orientations.apply_orientation(array, orientation)), (x, y, z)


def fullest_slice(label: NDArray[np.uint8]) -> int:
    """Return the index along the last axis with most labelled voxels; the middle where there are none."""
    counts = (label > 0).sum(axis=(0, 1))
    return int(counts.argmax()) if counts.any() else label.shape[2] // 2


def axial(volume: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Return a slice with anterior at the top and the patient's right on the left."""
    return volume[::-1, ::-1, index].T
