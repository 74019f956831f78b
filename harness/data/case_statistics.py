"""What the cases of a dataset look like, as rows of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from harness.data.check_report import CaseFacts
from harness.data.datasets.contract import Dataset

COLUMNS = ("", "cases", "smallest", "median", "largest")
Row = tuple[str, str, str, str, str]


def statistics_rows(facts: Sequence[CaseFacts], dataset: Dataset) -> list[Row]:
    """Return rows of :data:`COLUMNS`: shape, spacing, intensity, and the volume of each label where it occurs.

    Regions of several labels follow, where one of their labels occurs.

    Args:
        facts: of the readable cases, at least one.
        dataset: says labels and regions.
    """
    rows = [
        _statistics("shape, voxels", [one.shape for one in facts]),
        _statistics("spacing, mm", [one.spacing for one in facts]),
        _statistics("intensity, 99th percentile", [(one.level,) for one in facts]),
    ]
    groups: dict[str, tuple[int, ...]] = {
        f"{value} {label_title(dataset, value)}": (value,) for value in dataset.labels if value
    }
    groups |= {
        f"{name} ({', '.join(map(str, values))})": values
        for name, values in dataset.scored_regions().items()
        if len(values) > 1
    }
    for title, values in groups.items():
        found = [[one.volumes[value] for value in values if value in one.volumes] for one in facts]
        if any(found):
            rows.append(_statistics(f"{title}, ml", [(sum(own),) for own in found if own]))
    return rows


def label_title(dataset: Dataset, value: int) -> str:
    """Return the name of a label; where it has none, the regions that it is a part of."""
    name = dataset.labels[value]
    regions = [region for region, values in dataset.scored_regions().items() if value in values]
    return f"of {', '.join(regions)}" if name == str(value) and regions else name


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
