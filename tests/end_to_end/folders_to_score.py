"""Small label maps as files, and how to find a score of them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

SPACING = (1.0, 0.75, 2.5)  # the header has single precision
AFFINE = np.diag([*SPACING, 1.0])


def save(path: Path, labels: NDArray, affine: NDArray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels, affine), path)


def labels_of(seed: int, shift: int = 0) -> NDArray[np.uint8]:
    """Return two organs, shifted along x."""
    rng = np.random.default_rng(seed)
    volume = np.zeros((20, 18, 12), np.uint8)
    for value, size in ((1, 6), (2, 4)):
        x, y, z = rng.integers(2, 7, 3)
        volume[x + shift : x + shift + size, y : y + size, z : z + size] = value
    return volume


def value(rows: list[dict], case: str, region: str, metric: str) -> float:
    (row,) = (r for r in rows if (r["case"], r["region"], r["metric"]) == (case, region, metric))
    return float(row["value"])
