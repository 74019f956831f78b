"""A seeded abdomen: label maps with 13 organs of realistic size and shape, and predictions of several kinds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
SPACING = (0.67, 0.67, 3.0)  # mm
SHAPE = (512, 512, 147)

# name -> centre and semi-axes in mm, from the middle of the body; how far the axis bends, mm
ORGANS = {
    "spleen": ((95, -30, 60), (32, 48, 52), 10),
    "right kidney": ((-65, -60, -20), (28, 26, 55), 5),
    "left kidney": ((68, -60, 0), (28, 26, 55), 5),
    "gallbladder": ((-60, 40, 10), (15, 15, 32), 6),
    "esophagus": ((5, -35, 120), (10, 9, 60), 8),
    "liver": ((-60, 25, 60), (95, 75, 75), 12),
    "stomach": ((50, 40, 60), (60, 40, 55), 15),
    "aorta": ((12, -55, 20), (11, 11, 150), 8),
    "inferior vena cava": ((-18, -45, 10), (12, 10, 130), 6),
    "portal and splenic veins": ((0, 5, 20), (60, 7, 9), 12),
    "pancreas": ((20, -5, 5), (70, 14, 16), 15),
    "right adrenal": ((-40, -45, 45), (12, 4, 16), 3),
    "left adrenal": ((42, -42, 50), (12, 4, 16), 3),
}


def anatomy(seed: int, shape: tuple[int, ...] = SHAPE, error: float = 0.0, error_seed: int = 0) -> Labels:
    """Return a label map ``(X, Y, Z)``, in the order of memory in which files are read.

    Args:
        seed: of the patient.
        shape: voxels; the field of view stays, so that fewer voxels are larger ones.
        error: how far a prediction's outline strays from the patient's, mm.
        error_seed: of where it strays.
    """
    spacing = np.array(SPACING) * np.array(SHAPE) / np.array(shape)
    labels = np.zeros(shape, np.uint8, order="F")
    patient, strays = np.random.default_rng(seed), np.random.default_rng(error_seed)
    for value, (centre, radii, bend) in enumerate(ORGANS.values(), start=1):
        middle = np.array(centre) + patient.uniform(-6, 6, 3)
        size = np.array(radii) * patient.uniform(0.85, 1.15, 3)
        waves = _waves(patient, 3, 25, 60), _waves(strays, 8, 8, 30)
        curve = patient.uniform(-bend, bend, 3)
        low = np.floor((middle - size * 1.4 - bend) / spacing + np.array(shape) / 2).astype(int)
        high = np.ceil((middle + size * 1.4 + bend) / spacing + np.array(shape) / 2).astype(int)
        box = tuple(slice(max(a, 0), min(b, side)) for a, b, side in zip(low, high, shape, strict=True))
        axes = [
            (np.arange(s.start, s.stop) - side / 2) * mm - m
            for s, side, mm, m in zip(box, shape, spacing, middle, strict=True)
        ]
        points = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
        along = points[int(np.argmax(size))] / size.max()
        bent = [p - c * (along**2 if a != np.argmax(size) else 0) for a, (p, c) in enumerate(zip(points, curve, strict=True))]  # fmt: skip
        distance = (np.sqrt(sum((p / r) ** 2 for p, r in zip(bent, size, strict=True))) - 1) * size.min()
        distance = distance + 0.1 * size.min() * _field(points, waves[0]) + error * _field(points, waves[1])
        labels[box][distance < 0] = value
    return labels


def predictions(reference: Labels, seed: int = 1) -> dict[str, Labels]:
    """Return predictions for ``anatomy(seed)``, from realistic to hopeless."""
    shape, rng = reference.shape, np.random.default_rng(seed)
    realistic = anatomy(seed, shape, error=2.0, error_seed=7)
    shift = round(40 * shape[0] / SHAPE[0])
    islands = realistic.copy(order="F")
    for value in range(1, len(ORGANS) + 1):
        for _ in range(30):
            corner = [
                int(rng.integers(0, side - size)) for side, size in zip(shape, (12, 12, 4), strict=True)
            ]
            islands[tuple(slice(c, c + size) for c, size in zip(corner, (12, 12, 4), strict=True))] = value
    return {
        "realistic": realistic,
        "shifted": np.asfortranarray(np.roll(reference, (shift, 0, 0), axis=(0, 1, 2))),
        "another patient": anatomy(seed + 1, shape),
        "islands": islands,
        "noise": np.asfortranarray(rng.integers(0, len(ORGANS) + 1, shape, dtype=np.uint8)),
    }


def _waves(rng: np.random.Generator, count: int, shortest: float, longest: float) -> NDArray[np.float32]:
    """Return rows of a wave vector and a phase; wavelengths in mm."""
    directions = rng.standard_normal((count, 3))
    directions *= (
        2 * np.pi / rng.uniform(shortest, longest, (count, 1)) / np.linalg.norm(directions, axis=1)[:, None]
    )
    return np.column_stack([directions, rng.uniform(0, 2 * np.pi, count)]).astype(np.float32)


def _field(points: list[NDArray[np.float32]], waves: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a smooth random field of standard deviation 1."""
    total = np.zeros(np.broadcast_shapes(*(p.shape for p in points)), np.float32)
    for x, y, z, phase in waves:
        total += np.sin(points[0] * x + points[1] * y + points[2] * z + phase)
    return total * np.float32(np.sqrt(2 / len(waves)))
