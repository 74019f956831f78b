"""What the page's slice viewer shows: whole volumes of the chosen cases, as pictures that a browser decodes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.reporting.palette import ERROR_COLOURS, LABEL_COLOURS
from harness.reporting.slices.galleries import CaseVolumes, Gallery
from harness.reporting.slices.geometry import axial

MOST_PIXELS = 160
"""Rows and columns of a slice; larger ones are thinned out."""
MOST_SLICES = 48


def viewer_data(galleries: Mapping[str, Gallery | str]) -> list[dict[str, Any]]:
    """Return, for JSON, the cases of each dataset that has a gallery.

    A volume is one PNG, its slices one below the other; labels are gray values.

    Args:
        galleries: of ``all_galleries``.
    """
    return [
        {
            "dataset": dataset,
            "columns": list(found.columns),
            "labels": list(found.labels.items()),
            "regions": [(name, ", ".join(labels)) for name, labels in found.regions.items()],
            "colours": list(LABEL_COLOURS),
            "errors": list(ERROR_COLOURS.items()),
            "cases": [_case_data(case) for case in found.volumes],
        }
        for dataset, found in galleries.items()
        if not isinstance(found, str)
    ]


def _case_data(case: CaseVolumes) -> dict[str, Any]:
    step = -(-max(case.image.shape[:2]) // MOST_PIXELS)
    slices = _shown_slices(case)
    volumes = [case.image, case.reference, *case.predictions]
    sprites = [None if volume is None else _sprite(volume, slices, step) for volume in volumes]
    first = axial(case.image, 0)[::step, ::step]
    return {
        "title": case.title,
        "rows": first.shape[0],
        "columns": first.shape[1],
        "aspect": case.spacing[1] / case.spacing[0],
        "slices": [int(index) for index in slices],
        "start": int(np.argmax([(case.reference[..., index] > 0).sum() for index in slices])),
        "volumes": sprites,
        "notes": ["", "", *case.notes],
    }


def _shown_slices(case: CaseVolumes) -> NDArray[np.int64]:
    """Return the slices that any label reaches and two on either side; at most :data:`MOST_SLICES`, evenly spaced."""
    labels = [case.reference, *(volume for volume in case.predictions if volume is not None)]
    filled = np.flatnonzero(np.any([volume.any(axis=(0, 1)) for volume in labels], axis=0))
    last = case.image.shape[2] - 1
    low, high = (max(0, filled[0] - 2), min(last, filled[-1] + 2)) if len(filled) else (0, last)
    return np.unique(np.linspace(low, high, min(MOST_SLICES, high - low + 1)).round().astype(int))


def _sprite(volume: NDArray[np.uint8], slices: NDArray[np.int64], step: int) -> str:
    stacked = np.concatenate([axial(volume, int(index))[::step, ::step] for index in slices])
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(stacked)).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
