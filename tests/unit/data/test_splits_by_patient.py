"""Splits by patient, and few-shot subsets within them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.datasets.contract import Case, Fractions
from harness.data.splits import Split, few_shot_cases, generate_split
from harness.errors import UserError


@st.composite
def patients(draw: st.DrawFn) -> list[Case]:
    """Draw cases of 3 to 30 patients, each with one to three cases."""
    count = draw(st.integers(3, 30))
    frames = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    return [Case(f"p{p:02d}_{f}", f"p{p:02d}") for p in range(count) for f in range(frames[p])]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    cases=patients(), seed=st.integers(0, 2**31), train=st.floats(0.05, 0.9), validation=st.floats(0.01, 0.5)
)
def test_a_split_is_disjoint_by_patient_and_complete(
    cases: list[Case], seed: int, train: float, validation: float
) -> None:
    split = generate_split(cases, Fractions(train, validation), "any", seed)
    parts = [split.train, split.validation, split.test]
    assert sorted(id for part in parts for id in part) == sorted(case.id for case in cases)
    patient_of = {case.id: case.patient for case in cases}
    owners = [{patient_of[id] for id in part} for part in parts]
    assert all(owners) and sum(map(len, owners)) == len(set(patient_of.values()))
    assert split == generate_split(cases[::-1], Fractions(train, validation), "any", seed)


SPLIT = Split(tuple(f"p{n:02d}_{f}" for n in range(12) for f in (0, 1)), ("p20_0",), ("p21_0",), "by hand")
CASES = [Case(id, id.partition("_")[0]) for id in (*SPLIT.train, *SPLIT.validation, *SPLIT.test)]


def test_a_split_depends_on_dataset_and_seed_and_its_hash_tells() -> None:
    fractions = Fractions(0.6, 0.1)
    splits = [generate_split(CASES, fractions, name, seed) for name, seed in (("a", 0), ("a", 1), ("b", 0))]
    assert len({split.hash for split in splits}) == 3
    assert splits[0].hash == generate_split(CASES, fractions, "a", 0).hash
    assert len(splits[0].train) == round(0.6 * 14) * 2 - sum(
        id.startswith(("p20", "p21")) for id in splits[0].train
    )


def test_two_patients_cannot_be_split() -> None:
    with pytest.raises(UserError, match="2 patient"):
        generate_split([Case("a1", "a"), Case("a2", "a"), Case("b", "b")], Fractions(0.5, 0.2), "any", 0)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(subset=st.integers(0, 1000))
def test_few_shot_subsets_are_nested_and_take_a_patient_before_the_next(subset: int) -> None:
    chosen = [few_shot_cases(SPLIT, CASES, shots, "any", subset) for shots in range(1, 25)]
    for shots, (smaller, larger) in enumerate(pairwise(chosen), start=1):
        assert len(smaller) == len(set(smaller)) == shots
        assert set(smaller) < set(larger) <= set(SPLIT.train)
        assert len({id.partition("_")[0] for id in smaller}) == (shots + 1) // 2
    assert set(chosen[-1]) == set(SPLIT.train)


def test_few_shot_subsets_differ_by_draw_and_all_is_the_whole_part() -> None:
    draws = {few_shot_cases(SPLIT, CASES, 4, "any", subset) for subset in range(10)}
    assert len(draws) > 5
    assert few_shot_cases(SPLIT, CASES, 4, "any", 3) == few_shot_cases(SPLIT, CASES, 4, "any", 3)
    assert few_shot_cases(SPLIT, CASES, "all", "any", 0) == SPLIT.train


@pytest.mark.parametrize("shots", [25, 100])
def test_more_shots_than_training_cases_is_a_users_error(shots: int) -> None:
    with pytest.raises(UserError, match=f"found {shots}; expected 1 to 24"):
        few_shot_cases(SPLIT, CASES, shots, "any", 0)
