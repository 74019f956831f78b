"""An image or a map of labels with its place in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Volume:
    """An array on the grid of its file: ``(C, X, Y, Z)`` for an image, ``(X, Y, Z)`` for labels.

    ``affine`` maps voxel indices to millimetres in RAS.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each array axis, mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return (x, y, z)


def corner_distance(one: NDArray[np.float64], other: NDArray[np.float64], shape: Sequence[int]) -> float:
    """Return how far apart two affines put a corner of a volume of ``shape`` at most, mm."""
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())
