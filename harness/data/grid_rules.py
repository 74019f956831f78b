"""Whether two volumes lie on one grid: the rules of a check, of a run, and of scoring a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import nibabel
import numpy as np
from numpy.typing import NDArray

from harness.data.volume import Volume, corner_distance
from harness.errors import UserError

SAME_PLACE = 0.05  # of a voxel: what writers round, not what registration moves
NOTICED = 1e-5  # mm, below which two places are told as the same


@dataclass(frozen=True)
class GridFault:
    """Why a volume has no grid that can be used, or another than it should.

    Attributes:
        code: what it is, for scripts.
        found: as in :class:`~harness.errors.UserError`.
        expected: likewise.
        remedy: likewise.
    """

    code: str
    found: str
    expected: str
    remedy: str

    @property
    def message(self) -> str:
        """What is wrong with the file, as a predicate."""
        return f"has {self.found}; expected {self.expected}"

    def error(self, where: object) -> UserError:
        """Return the fault as an error that names the file."""
        return UserError(where, self.found, self.expected, self.remedy)


def grid_shape(volume: Volume) -> tuple[int, ...]:
    """Return the lengths of the axes of space, voxels: the last three."""
    return volume.array.shape[-3:]


def one_slice(shape: Sequence[int]) -> GridFault | None:
    """Return the fault of a single slice: in one, every voxel would be surface."""
    if len(shape) >= 3 and min(shape[-3:]) > 1:
        return None
    return GridFault(
        "not_a_volume", f"shape {tuple(shape)}, no more than one slice", "a volume",
        "Stack the slices of a case: in a single slice every voxel would be surface.",
    )  # fmt: skip


def grid_fault(volume: Volume, reference: Volume, name: object) -> GridFault | None:
    """Return how the grid of a volume differs from that of a reference; None where it does not, but for rounding.

    Args:
        volume: labels, or a channel of an image.
        reference: the image, or the labels that are scored against.
        name: of the reference, for the message.
    """
    shape = grid_shape(reference)
    if grid_shape(volume) != shape:
        return GridFault(
            "shape_mismatch", f"shape {grid_shape(volume)}", f"{shape}, the shape of {name}",
            "Resample it with nearest-neighbour interpolation, or exclude the case.",
        )  # fmt: skip
    apart = place_distance(volume, reference)
    if apart > SAME_PLACE * min(reference.spacing):
        return GridFault(
            "affine_mismatch", f"an affine by which a corner lies {apart:.3g} mm away from its place in {name}",
            "the same place", "Resample it, correct its header if only that is wrong, or exclude the case.",
        )  # fmt: skip
    return None


def place_distance(volume: Volume, reference: Volume) -> float:
    """Return how far apart two volumes of one shape have a corner at most, mm; 0 where nobody would notice."""
    apart = corner_distance(volume.affine, reference.affine, grid_shape(reference))
    return apart if apart > NOTICED else 0.0


def turned_to(volume: Volume, affine: NDArray[np.float64], shape: Sequence[int]) -> Volume:
    """Return a volume with its axes turned to those of a grid, where that brings it onto the grid.

    A volume may be stored with its axes flipped or in another order, at the same place in space. Any other volume is
    returned as it is.

    Args:
        volume: labels ``(X, Y, Z)`` or an image ``(C, X, Y, Z)``.
        affine: of the grid.
        shape: of the grid, voxels.
    """
    to_grid = nibabel.io_orientation(np.linalg.inv(affine) @ volume.affine)
    if np.isnan(to_grid).any() or np.array_equal(to_grid, [[0, 1], [1, 1], [2, 1]]):
        return volume
    own = grid_shape(volume)
    back = nibabel.orientations.inv_ornt_aff(to_grid, own)
    if volume.array.ndim == 3:
        array = nibabel.apply_orientation(volume.array, to_grid)
    else:
        array = np.stack([nibabel.apply_orientation(channel, to_grid) for channel in volume.array])
    turned = replace(volume, array=array, affine=volume.affine @ back, zooms=None)
    if volume.zooms is not None:
        x, y, z = (volume.zooms[axis] for axis in np.argsort(to_grid[:, 0]).tolist())
        turned = replace(turned, zooms=(x, y, z))
    same = grid_shape(turned) == tuple(shape)
    near = same and corner_distance(turned.affine, affine, shape) <= SAME_PLACE * min(turned.spacing)
    return turned if near else volume


def on_grid_of(volume: Volume, reference: Volume, where: object, name: object) -> Volume:
    """Return a volume on the grid of a reference: its axes turned where they are stored otherwise.

    Args:
        volume: labels ``(X, Y, Z)`` or an image ``(C, X, Y, Z)``.
        reference: whose grid it has to have.
        where: the volume's file, for messages.
        name: the reference's.

    Raises:
        UserError: the reference is a single slice, or the volume lies on another grid.
    """
    flat = one_slice(grid_shape(reference))
    if flat is not None:
        raise flat.error(name)
    turned = turned_to(volume, reference.affine, grid_shape(reference))
    fault = grid_fault(turned, reference, name)
    if fault is not None:
        raise fault.error(where)
    return turned
