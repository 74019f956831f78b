from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from harness.evaluation.conventions import CONVENTIONS
from harness.evaluation.summary import OVER_REGIONS, Summary, summarise

NAN = math.nan
# case -> region -> Dice; "b" is in neither map of case 2, and missed in case 3
VALUES = {"1": {"a": 0.9, "b": 0.5}, "2": {"a": 0.7, "b": NAN}, "3": {"a": 0.8, "b": 0.0}}
EMPTY = {("2", "b"): "both", ("3", "b"): "prediction"}


def rows() -> list[dict[str, Any]]:
    return [
        {"case": case, "region": region, "metric": "dice", "value": value, "unit": "",
         "empty": EMPTY.get((case, region), "none")}
        for case, regions in VALUES.items()
        for region, value in regions.items()
    ]  # fmt: skip


def summaries(convention: str) -> dict[str, Summary]:
    return {one.region: one for one in summarise(rows(), CONVENTIONS[convention])}


def test_a_region_is_summarised_over_the_cases_that_are_counted() -> None:
    found = summaries("harness")
    assert (found["a"].mean, found["a"].sd) == (pytest.approx(0.8), pytest.approx(0.1))
    assert (found["a"].n, found["a"].misses, found["a"].absent) == (3, 0, 0)
    assert found["b"].mean == pytest.approx(0.25) and found["b"].sd == pytest.approx(
        statistics.stdev([0.5, 0.0])
    )
    assert (found["b"].n, found["b"].misses, found["b"].absent) == (2, 1, 1)


def test_the_order_of_the_means_is_the_conventions() -> None:
    """Over cases, then regions: (0.8 + 0.25) / 2. Over regions, then cases: (0.7 + 0.7 + 0.4) / 3."""
    assert summaries("harness")[OVER_REGIONS].mean == pytest.approx(0.525)
    assert summaries("released_unetr")[OVER_REGIONS].mean == pytest.approx(0.6)
    whole = summaries("harness")[OVER_REGIONS]
    assert (whole.n, whole.misses, whole.absent) == (5, 1, 1)


def test_one_case_has_no_spread() -> None:
    (one, _) = summarise(rows()[:1], CONVENTIONS["harness"])
    assert one.n == 1 and one.mean == 0.9 and math.isnan(one.sd)
