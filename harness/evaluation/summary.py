"""Per-case rows as a few numbers: mean, spread, n and misses by region, and over regions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.evaluation.conventions import Convention

OVER_REGIONS = "mean over regions"


@dataclass(frozen=True)
class Summary:
    """One metric of one region over cases.

    Attributes:
        mean: over the cases that are counted; NaN where none is.
        sd: sample standard deviation; NaN below two cases.
        n: cases that are counted.
        misses: cases in which one mask alone is empty.
        absent: cases in which both masks are empty.
    """

    region: str
    metric: str
    unit: str
    mean: float
    sd: float
    n: int
    misses: int
    absent: int


def summarise(rows: Sequence[dict[str, Any]], convention: Convention) -> list[Summary]:
    """Return a summary for each region and metric, then one over regions for each metric.

    The mean over regions is taken in the order that the convention states: over cases first, or over the
    regions of a case first; its spread is that over the regions or over the cases. Its ``n`` is the number of
    values that were counted.
    """
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    regions = list(dict.fromkeys(row["region"] for row in rows))
    over_cases = [
        _summary(region, metric, [r for r in rows if (r["region"], r["metric"]) == (region, metric)])
        for region in regions
        for metric in metrics
    ]
    return over_cases + [_over_regions(metric, rows, over_cases, convention) for metric in metrics]


def _over_regions(
    metric: str, rows: Sequence[dict[str, Any]], over_cases: Sequence[Summary], convention: Convention
) -> Summary:
    own = [row for row in rows if row["metric"] == metric]
    whole = _summary(OVER_REGIONS, metric, own)
    if convention.aggregation == "region_first":
        means = [summary.mean for summary in over_cases if summary.metric == metric]
    else:
        cases = dict.fromkeys(row["case"] for row in own)
        means = [_summary("", metric, [row for row in own if row["case"] == case]).mean for case in cases]
    mean, sd, _ = _moments(means)
    return Summary(OVER_REGIONS, metric, whole.unit, mean, sd, whole.n, whole.misses, whole.absent)


def _summary(region: str, metric: str, rows: Sequence[dict[str, Any]]) -> Summary:
    mean, sd, n = _moments([row["value"] for row in rows])
    misses = sum(row["empty"] in ("prediction", "reference") for row in rows)
    absent = sum(row["empty"] == "both" for row in rows)
    return Summary(region, metric, rows[0]["unit"], mean, sd, n, misses, absent)


def _moments(values: Sequence[float]) -> tuple[float, float, int]:
    """Return mean, standard deviation and number of the values that are counted."""
    counted = [value for value in values if value == value]
    mean = statistics.fmean(counted) if counted else float("nan")
    return mean, statistics.stdev(counted) if len(counted) > 1 else float("nan"), len(counted)
