"""Per-case rows of Dice and HD95, with units and a rule for empty masks.

Convention ``harness``: on the grid of the case's file. Dice is 2|A∩B| / (|A|+|B|). HD95 is the 95th
percentile of the pooled surface distances in mm (medpy's definition). Both masks empty: the value is NaN, is
not counted, and says so. One mask empty: Dice 0, HD95 the diagonal of the volume; a miss, never a gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.surface import hd95, surface_distances

CONVENTION = "harness"


def score_case(
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing: Sequence[float],
    regions: Mapping[str, tuple[int, ...]],
) -> list[dict[str, Any]]:
    """Return rows of region, metric, value, unit and empty for two label maps ``(X, Y, Z)``.

    Args:
        prediction: labels.
        reference: labels on the same grid.
        spacing: voxel size along each axis, mm.
        regions: region -> label values.
    """
    rows = []
    for region, values in regions.items():
        mine, theirs = np.isin(prediction, values), np.isin(reference, values)
        empty = _empty(mine, theirs)
        for metric, value, unit in (
            ("dice", dice(mine, theirs), ""),
            ("hd95", _hd95(mine, theirs, spacing, empty), "mm"),
        ):
            rows.append({"region": region, "metric": metric, "value": value, "unit": unit, "empty": empty})
    return rows


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return 2|A∩B| / (|A|+|B|), or NaN where both masks are empty."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2.0 * int(np.count_nonzero(one & other)) / total if total else float("nan")


def mean_dice(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], regions: Mapping[str, tuple[int, ...]]
) -> dict[str, float]:
    """Return the Dice of each region, for validation."""
    return {
        name: dice(np.isin(prediction, values), np.isin(reference, values))
        for name, values in regions.items()
    }


def _hd95(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: Sequence[float], empty: str) -> float:
    if empty == "both":
        return float("nan")
    if empty != "none":
        return float(np.linalg.norm(np.array(one.shape) * spacing))
    return hd95(*surface_distances(one, other, spacing))


def _empty(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> str:
    if not prediction.any():
        return "prediction" if reference.any() else "both"
    return "none" if reference.any() else "reference"
