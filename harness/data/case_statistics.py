"""What the cases of a dataset look like, as rows of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.data.check_report import CaseFacts

COLUMNS = ("", "cases", "smallest", "median", "largest")
Row = tuple[str, str, str, str, str]


def statistics_rows(facts: Sequence[CaseFacts], labels: Mapping[int, str]) -> list[Row]:
    """Return rows of :data:`COLUMNS`: shape, spacing, intensity, and the volume of each label where it occurs.

    Args:
        facts: of the readable cases, at least one.
        labels: label value -> name, background (0) included.
    """
    rows = [
        _statistics("shape, voxels", [one.shape for one in facts]),
        _statistics("spacing, mm", [one.spacing for one in facts]),
        _statistics("intensity, 99th percentile", [(one.level,) for one in facts]),
    ]
    for value, name in labels.items():
        found = [(one.volumes[value],) for one in facts if value in one.volumes]
        if value and found:
            rows.append(_statistics(f"{value} {name}, ml", found))
    return rows


def statistics_notes(facts: Sequence[CaseFacts]) -> list[str]:
    """Return how many cases have each orientation and type of voxels, in words."""
    return [
        f"{what}: {', '.join(f'{value} ({number})' for value, number in Counter(values).most_common())}"
        for what, values in (
            ("orientation", [one.orientation for one in facts]),
            ("voxels of images", [one.voxels for one in facts]),
        )
    ]


def _statistics(name: str, values: Sequence[Sequence[float]]) -> Row:
    """Return smallest, median and largest of each component, joined by a multiplication sign."""
    array = np.array(values, float)
    smallest, median, largest = (
        _joined(numbers) for numbers in (array.min(axis=0), np.median(array, axis=0), array.max(axis=0))
    )
    return name, str(len(values)), smallest, median, largest


def _joined(numbers: Iterable[float]) -> str:
    return " × ".join(f"{number:.4g}" for number in numbers)
