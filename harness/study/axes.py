"""Which factors tell the rows of a report apart, and what its tables can show."""

from __future__ import annotations

from collections.abc import Sequence

from harness.study.cells import FOLD
from harness.study.file import ReportSpec

REPEATED = ("seed", FOLD)
"""Factors in which the trials of one arm differ: they tell no rows apart."""
SCORED = ("metric", "region", "role")
MEAN_REGION = "mean"  # stands for all regions of a dataset
OWN_TABLES = (
    "comparisons",
    "contrasts",
    "conventions",
    "cost",
    "ensembles",
    "ranks",
    "suggestions",
    "trials",
    "tuned",
)
"""Tables that a report has beside those of its metrics."""
_SHARED = ("dataset", "shots", "subset")


def row_keys(report: ReportSpec, varying: Sequence[str]) -> tuple[str, ...]:
    """Return the factors that tell the rows of a table apart.

    All that vary but the seed and the fold, those in which rows must agree to be compared first and the method last;
    those that the report names go before.
    """
    found = [key for key in varying if key not in REPEATED]
    if "method" not in found:
        found.append("method")

    def rank(key: str) -> int:
        if is_shared(key):
            return 0
        return 2 if key == "method" or key.startswith("method.") else 1

    named = [key for key in report.rows if key in found]
    return tuple(named + [key for key in sorted(found, key=rank) if key not in named])


def is_shared(key: str) -> bool:
    """Return whether rows must agree in this factor to be compared."""
    return key in _SHARED or key.startswith("split.")
