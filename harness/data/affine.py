"""Rotation and scaling of a patch, drawn before the patch is cut: so it can be cut with the margin that they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms import Affine
from monai.transforms.utils import create_rotate
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from harness.data.patches import NO_MARGIN
from harness.seeding import numpy_generator
from harness.spec import Augmentation, Triple

_PLANES = 8  # whose places are found at a time: they stay in a core's cache


@dataclass(frozen=True)
class AffineTransform:
    """A rotation and scaling about the middle of a patch.

    Attributes:
        matrix: ``(3, 3)``, maps an offset from the middle of the new patch to one in the volume, voxels.
    """

    matrix: NDArray[np.float64]

    def margin(self, patch: Triple) -> Triple:
        """Return how many voxels a ``patch`` has to be longer by on each side, so that the transform can fill it."""
        half = (np.array(patch) - 1) / 2
        # 1e-6: rounding of a quarter turn asks for no voxel more
        more = np.ceil(np.abs(self.matrix) @ half - half - 1e-6)
        x, y, z = np.maximum(0, more).astype(int).tolist()
        return (x, y, z)

    def apply(self, array: Tensor, size: Triple, mode: str) -> Tensor:
        """Return the transformed middle ``(C, *size)`` of an array ``(C, X, Y, Z)``; zeros where it lies outside.

        Args:
            array: with a margin.
            size: without it.
            mode: of interpolation, ``bilinear`` or ``nearest``.
        """
        affine = np.eye(4)
        affine[:3, :3] = self.matrix
        transform = Affine(affine=affine, spatial_size=size, mode=mode, padding_mode="zeros", image_only=True)
        return transform(array.float()).to(array.dtype)

    def apply_to_all(self, arrays: Sequence[tuple[Tensor, str]], size: Triple) -> list[Tensor]:
        """Return for each array and mode what :meth:`apply` does, up to rounding, of float32; where to look is found once."""
        (x, y, z), sides = size, np.array(arrays[0][0].shape[1:])
        theta = np.zeros((3, 4))
        theta[:, :3] = (2 / sides)[
            :, None
        ] * self.matrix  # from voxels off the middle to what runs from -1 to 1
        turned = [array.new_empty((len(array), *size)) for array, _ in arrays]
        for first in range(0, x, _PLANES):
            planes = min(_PLANES, x - first)
            middle = np.array([first + planes / 2 - x / 2, 0, 0])
            here = theta.copy()
            here[:, 3] = theta[:, :3] @ middle
            here[:, :3] *= np.array([planes, y, z]) / 2
            reversed_axes = torch.from_numpy(here[::-1][:, [2, 1, 0, 3]].astype(np.float32))[None]
            grid = affine_grid(reversed_axes, [1, 1, planes, y, z], align_corners=False)
            for (array, mode), whole in zip(arrays, turned, strict=True):
                whole[:, first : first + planes] = grid_sample(
                    array[None], grid, mode, "zeros", align_corners=False
                )[0]
        return turned


def draw_affine(settings: Augmentation, seed: int, stream: str, sample: int) -> AffineTransform | None:
    """Return the transform of the n-th sample of a stream, or None where it is left as it is.

    With ``scale_range`` rotation and scaling come independently of each other, and one factor, evenly often
    below and above 1, is that of all axes (nnU-Net, Isensee et al. 2021); else both come together, with a
    factor for each axis.
    """
    rng = numpy_generator(seed, stream, "turn", sample)
    axes = np.array([1, 1, 0] if settings.planar else [1, 1, 1], bool)
    angles, factors = np.zeros(3), np.ones(3)
    turned = rng.random() < settings.affine_probability
    if turned:
        about = ~axes if settings.planar else axes  # a rotation in a plane is one about its normal
        angles[about] = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, about.sum()))
    if settings.scale_range is not None:
        if rng.random() < settings.affine_probability:
            factors[axes] = _factor(settings.scale_range, rng)
    elif turned:
        factors[axes] = 1 + rng.uniform(-settings.scaling, settings.scaling, axes.sum())
    if not angles.any() and (factors == 1).all():
        return None
    return AffineTransform(create_rotate(3, angles.tolist())[:3, :3] @ np.diag(factors))


def _factor(limits: tuple[float, float], rng: np.random.Generator) -> float:
    low, high = limits
    if low < 1 < high:
        low, high = (low, 1.0) if rng.random() < 0.5 else (1.0, high)
    return float(rng.uniform(low, high))


def largest_margin(margins: Iterable[Triple]) -> Triple:
    """Return the margin that holds all of ``margins``."""
    x, y, z = np.max([NO_MARGIN, *margins], axis=0).tolist()
    return (x, y, z)
