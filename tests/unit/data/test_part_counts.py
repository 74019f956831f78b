"""How many cases the parts of a split have, and when they are too few to test on."""

from __future__ import annotations

import pytest

from harness.data.datasets.contract import Case
from harness.data.part_counts import FEWEST_TESTED, FEWEST_TESTED_RETRAINING, count_parts
from harness.data.splits import Split
from harness.reporting.statistics import significance


def test_the_limits_are_those_of_the_report() -> None:
    assert significance.LEAST_CASES == FEWEST_TESTED == 7
    assert significance.LEAST_CASES_RETRAINING == FEWEST_TESTED_RETRAINING == 12


def split_of(tests: int, start: int = 100) -> Split:
    return Split(("a", "b", "c"), (), tuple(f"t{n}" for n in range(start, start + tests)), "by hand")


CASES = [Case(id, id) for id in ("a", "b", "c", *(f"t{n}" for n in range(100, 160)))]


@pytest.mark.parametrize(
    ("tested", "warned"),
    [(1, "1 test patient: too few for any test"), (6, "6 test patients: too few for any test"),
     (7, "7 test patients: too few to test for retraining"), (11, "retraining (12 needed)"), (12, "")],
)  # fmt: skip
def test_few_test_patients_are_warned_of(tested: int, warned: str) -> None:
    said = count_parts([split_of(tested)], CASES).warning()
    assert warned in said and bool(said) == bool(warned)


def test_patients_count_and_not_cases() -> None:
    cases = [Case(case.id, case.id if case.id < "t" else case.id[:3]) for case in CASES]
    counts = count_parts([split_of(60)], cases)
    assert counts.tested == 60 and counts.tested_patients == 6 and "too few for any test" in counts.warning()
    assert counts.text() == "3 training, 0 validation and 60 test cases of 3, 0 and 6 patients"


def test_folds_are_counted_together() -> None:
    counts = count_parts([split_of(4), split_of(3, 104), split_of(5, 107)], CASES)
    assert (
        counts.text() == "3 training, 0 validation and 3 to 5 test cases in each of 3 folds, 12 tested in all"
    )
    assert counts.warning() == ""
