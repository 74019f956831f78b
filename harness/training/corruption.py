"""Corruptions that a network learns to undo: arrays in, arrays out, all randomness from a generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]  # (C, D, H, W)
_WINDOWS_PER_VOXEL = 10_000 / (64 * 64 * 32)  # of Models Genesis: 10 000 in a crop of 64 x 64 x 32
_MARGIN = 3  # voxels between a painted box and the faces of a patch


def shuffle_locally(image: Image, rng: np.random.Generator) -> Image:
    """Return the image with the voxels of many small windows, up to a tenth of its sides, permuted.

    Windows overlap, and each is filled from the untouched image, as in the original code.
    """
    shuffled, sides = image.copy(), np.array(image.shape[1:])
    count = max(1, round(_WINDOWS_PER_VOXEL * int(sides.prod())))
    sizes = rng.integers(1, np.maximum(2, sides // 10), endpoint=True, size=(count, 3))
    starts = rng.integers(0, sides - sizes, endpoint=True)
    for (x, y, z), (dx, dy, dz) in zip(starts.tolist(), sizes.tolist(), strict=True):
        window = (slice(None), slice(x, x + dx), slice(y, y + dy), slice(z, z + dz))
        values = image[window]
        order = rng.permutation(dx * dy * dz)
        shuffled[window] = values.reshape(len(image), -1)[:, order].reshape(values.shape)
    return shuffled


def remap_intensity(image: Image, rng: np.random.Generator) -> Image:
    """Return an image with values in [0, 1] mapped along a cubic Bézier curve from (0, 0) to (1, 1).

    Its two inner points are random, within the square, so that both coordinates grow along it. Half of the time the map
    decreases.
    """
    points = np.concatenate([[[0.0, 0.0]], rng.random((2, 2)), [[1.0, 1.0]]])
    xs, ys = _bezier(points, 1000)
    if rng.random() < 0.5:
        ys = 1 - ys
    return np.interp(image, xs, ys).astype(np.float32)


def _bezier(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return ``(2, count)`` points along the cubic curve of four control points ``(4, 2)``."""
    t = np.linspace(0, 1, count)
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return points.T @ basis


def inpaint(image: Image, rng: np.random.Generator) -> Image:
    """Return the image with up to five boxes, a sixth to a third of its sides, replaced by uniform noise.

    Each box comes with probability 0.95, and where one does not, no other follows.
    """
    painted, shape = image.copy(), image.shape[1:]
    for _ in range(5):
        if rng.random() >= 0.95:
            break
        sizes = [int(rng.integers(max(1, side // 6), max(1, side // 3), endpoint=True)) for side in shape]
        box = random_box(shape, sizes, rng)
        painted[box] = rng.random(painted[box].shape[1:], dtype=np.float32)
    return painted


def outpaint(image: Image, rng: np.random.Generator) -> Image:
    """Return uniform noise that shows the image in one to five boxes, 3/7 to 4/7 of its sides."""
    painted, shape = rng.random(image.shape, dtype=np.float32), image.shape[1:]
    for index in range(5):
        if index and rng.random() >= 0.95:
            break
        sizes = [side - int(rng.integers(3 * side // 7, 4 * side // 7, endpoint=True)) for side in shape]
        box = random_box(shape, sizes, rng)
        painted[box] = image[box]
    return painted


def random_box(shape: Sequence[int], sizes: Sequence[int], rng: np.random.Generator) -> tuple[slice, ...]:
    """Return slices over channels and a box of ``sizes`` in ``shape``, three voxels from its faces where there is room."""
    slices = [slice(None)]
    for side, size in zip(shape, sizes, strict=True):
        margin = min(_MARGIN, (side - size) // 2)
        start = int(rng.integers(margin, side - size - margin, endpoint=True))
        slices.append(slice(start, start + size))
    return tuple(slices)
