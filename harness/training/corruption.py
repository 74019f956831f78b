"""Corruptions that a network learns to undo: arrays in, arrays out, all randomness from a generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]  # (C, D, H, W)
_WINDOWS_PER_VOXEL = 10_000 / (64 * 64 * 32)  # of Models Genesis: 10 000 in a crop of 64 x 64 x 32


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

    Its two inner points are random; half of the time they are ordered, and half of the time the map decreases.
    """
    points = np.concatenate([[[0.0, 0.0]], rng.random((2, 2)), [[1.0, 1.0]]])
    xs, ys = _bezier(points, 1000)
    xs = np.sort(xs)
    if rng.random() >= 0.5:
        ys = np.sort(ys)
    if rng.random() < 0.5:
        ys = 1 - ys
    return np.interp(image, xs, ys).astype(np.float32)


def _bezier(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return ``(2, count)`` points along the cubic curve of four control points ``(4, 2)``."""
    t = np.linspace(0, 1, count)
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return points.T @ basis


def inpaint(image: Image, rng: np.random.Generator) -> Image:
    """Return the image with up to five boxes, a sixth to a third of its sides, replaced by uniform noise."""
    painted = image.copy()
    for _ in range(5):
        box = random_box(image.shape[1:], 1 / 6, 1 / 3, rng)
        painted[box] = rng.random(painted[box].shape[1:], dtype=np.float32)
        if rng.random() >= 0.95:
            break
    return painted


def outpaint(image: Image, rng: np.random.Generator) -> Image:
    """Return uniform noise that shows the image in up to five boxes, 3/7 to 4/7 of its sides."""
    painted = rng.random(image.shape, dtype=np.float32)
    for _ in range(5):
        box = random_box(image.shape[1:], 3 / 7, 4 / 7, rng)
        painted[box] = image[box]
        if rng.random() >= 0.95:
            break
    return painted


def random_box(
    shape: tuple[int, ...], least: float, most: float, rng: np.random.Generator
) -> tuple[slice, ...]:
    """Return slices over channels and a box whose sides are ``least`` to ``most`` of ``shape``."""
    slices = [slice(None)]
    for side in shape:
        low = max(1, int(side * least))
        size = int(rng.integers(low, max(low, int(side * most)), endpoint=True))
        start = int(rng.integers(0, side - size, endpoint=True))
        slices.append(slice(start, start + size))
    return tuple(slices)
