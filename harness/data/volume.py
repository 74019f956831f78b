"""An image or a map of labels with its place in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-6
"""How far, as a share, two lengths may differ and be the same: headers hold single precision (6e-8 for each number)."""


@dataclass(frozen=True)
class Volume:
    """An array on the grid of its file: ``(C, X, Y, Z)`` for an image, ``(X, Y, Z)`` for labels.

    Attributes:
        array: the values.
        affine: maps voxel indices to millimetres in RAS.
        zooms: voxel sizes along the three array axes, mm, as the header states them beside the affine; None where
            it does not.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    zooms: tuple[float, float, float] | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each array axis, mm: the header's where it agrees with the affine's, which is rounded."""
        lengths = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        if self.zooms is not None and np.allclose(self.zooms, lengths, rtol=ROUNDING, atol=0):
            lengths = np.asarray(self.zooms, np.float64)
        x, y, z = map(shortest_decimal, lengths.tolist())
        return (x, y, z)

    @property
    def is_single_slice(self) -> bool:
        """Whether it is one voxel thick along an axis: such a volume has no surface, since every voxel would be one."""
        return 1 in self.array.shape[-3:]


def shortest_decimal(value: float) -> float:
    """Return what somebody wrote who stored a number in single precision: 0.4 for 0.4000000059604645.

    Of other numbers, what is left are twelve digits: 0.3 of 0.30000000000000004.
    """
    single = np.float32(value)
    return float(str(single)) if float(single) == value else float(f"{value:.12g}")


def corner_distance(one: NDArray[np.float64], other: NDArray[np.float64], shape: Sequence[int]) -> float:
    """Return how far apart two affines put a corner of a volume of ``shape`` at most, mm."""
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())


@dataclass(frozen=True)
class StoredVolume(Volume):
    """A volume as it is stored, channels last.

    Attributes:
        half_step: how far a header's scale may have put a value from what was written; 0 where nothing is scaled.
    """

    half_step: float = 0.0
