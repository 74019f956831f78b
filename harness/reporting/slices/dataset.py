"""What the overview figure of a dataset shows: slices of a few cases, and which cases are not as they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.check_report import CaseFacts, CheckReport
from harness.data.datasets.contract import Dataset
from harness.data.numbering import IGNORE
from harness.errors import UserError
from harness.reporting.slices.geometry import axial, fullest_slice, to_ras
from harness.reporting.slices.images import to_8_bit

MOST_SLICES = 8


@dataclass(frozen=True)
class Slice:
    """The axial slice of a case that shows most of its labels.

    Attributes:
        case: id.
        image: ``(rows, columns)`` uint8; the first channel.
        label: likewise, in training numbers, without ignored voxels.
        aspect: a pixel's height over its width.
    """

    case: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    aspect: float


def flagged_cases(check: CheckReport) -> set[str]:
    """Return the cases with an error or a warning of their own."""
    return {one.case for one in check.findings if one.case and one.level != "fixed"}


def chosen_facts(check: CheckReport, most: int = MOST_SLICES) -> list[CaseFacts]:
    """Return the cases to show: up to half of them with findings, the others evenly among the rest, in order."""
    flagged = flagged_cases(check)
    odd = [one for one in check.facts if one.case.id in flagged][: most // 2]
    rest = [one for one in check.facts if one.case.id not in flagged]
    places = np.linspace(0, len(rest) - 1, min(len(rest), most - len(odd))).round().astype(int)
    chosen = {one.case.id for one in (*odd, *(rest[place] for place in places))}
    return [one for one in check.facts if one.case.id in chosen]


def slices(dataset: Dataset, chosen: Sequence[CaseFacts]) -> list[Slice | str]:
    """Return a slice of each case, or why there is none."""
    found: list[Slice | str] = []
    for facts in chosen:
        try:
            image, label = dataset.image(facts.case), dataset.training_label(facts.case)
        except UserError as error:
            found.append(f"{facts.case.id}: {error.found}")
            continue
        if label.array.shape != image.array.shape[1:]:
            found.append(f"{facts.case.id}: shapes differ")
            continue
        array = label.array
        if dataset.ignore is not None:
            array = np.where(array == IGNORE, np.uint8(0), array)
        values, spacing = to_ras(to_8_bit(image.array[0], array), image.affine)
        labels = to_ras(array, image.affine)[0]
        index = fullest_slice(labels)
        found.append(
            Slice(facts.case.id, axial(values, index), axial(labels, index), spacing[1] / spacing[0])
        )
    return found
