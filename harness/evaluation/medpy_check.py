"""The same numbers by medpy, slowly, to check ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.evaluation.conventions import Convention, Regions
from harness.evaluation.surface import Labels


def largest_difference_to_medpy(
    rows: Sequence[dict[str, Any]],
    prediction: Labels,
    reference: Labels,
    spacing: Sequence[float],
    regions: Regions,
    convention: Convention,
) -> float | None:
    """Return the largest difference of a case's values to medpy's, None where there is none to compare.

    Compared are the metrics that medpy has, of the regions that both maps have.

    Args:
        rows: as ``score_case`` returned them for the maps.
        prediction: labels ``(X, Y, Z)``.
        reference: labels on the same grid.
        spacing: voxel size along each axis, mm.
        regions: region -> label values.
        convention: by which the rows were made.
    """
    from medpy.metric import binary

    scale = convention.spacing(spacing)
    medpy = {
        "dice": lambda a, b: binary.dc(a, b),
        "hd95": lambda a, b: binary.hd95(a, b, voxelspacing=scale),
        "assd": lambda a, b: binary.assd(a, b, voxelspacing=scale),
        "sensitivity": lambda a, b: binary.recall(a, b),
        "precision": lambda a, b: binary.precision(a, b),
    }
    differences = []
    for row in rows:
        if row["empty"] == "none" and row["metric"] in medpy:
            a, b = (np.isin(map_, regions[row["region"]]) for map_ in (prediction, reference))
            differences.append(abs(row["value"] - float(medpy[row["metric"]](a, b))))
    return float(np.max(differences)) if differences else None
