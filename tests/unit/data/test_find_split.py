"""Which cases a trial trains, validates and tests on: folds, split files, a folder's own test cases, shares."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.datasets.contract import Case, Dataset
from harness.data.datasets.nnunet import NNUNet
from harness.data.splits import Split, few_shot_cases, find_split, generate_split
from harness.errors import UserError
from harness.spec import DatasetSpec, SplitParts


class Plain(Dataset):
    """A dataset without shipped splits: 65 % to train on, 10 % to validate on."""


def spec(**fields: object) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": "any", "version": 1, **fields})


def fold_of(cases: Sequence[Case], folds: int, number: int, **fields: object) -> Split:
    return find_split(Plain(), spec(split_folds=folds, split_fold=number, **fields), cases)


@st.composite
def patients(draw: st.DrawFn) -> list[Case]:
    """Draw cases of 4 to 30 patients, each with one to three cases, in any order."""
    count = draw(st.integers(4, 30))
    frames = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    cases = [Case(f"p{p:02d}_{f}", f"p{p:02d}") for p in range(count) for f in range(frames[p])]
    return draw(st.permutations(cases))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(cases=patients(), folds=st.integers(2, 4), seed=st.integers(0, 2**31))
def test_folds_test_each_case_once_and_share_no_patient(cases: list[Case], folds: int, seed: int) -> None:
    found = [fold_of(cases, folds, k, split_seed=seed) for k in range(folds)]
    every, patient_of = sorted(case.id for case in cases), {case.id: case.patient for case in cases}
    assert sorted(id for split in found for id in split.test) == every
    sizes = [len({patient_of[id] for id in split.test}) for split in found]
    assert max(sizes) - min(sizes) <= 1
    for number, split in enumerate(found):
        assert sorted(split.cases) == every
        owners = [{patient_of[id] for id in part} for part in split.parts.values()]
        assert all(owners) and sum(map(len, owners)) == len({*patient_of.values()})
        assert split == fold_of(cases[::-1], folds, number, split_seed=seed)
        expected = min(max(1, round(0.1 / 0.75 * len(owners[0] | owners[1]))), len(owners[0] | owners[1]) - 1)
        assert len(owners[1]) == expected


def test_folds_depend_on_the_seed_and_on_the_name() -> None:
    cases = [Case(f"c{n:02d}", f"c{n:02d}") for n in range(20)]
    others = [spec(split_folds=5, split_fold=0, split_seed=1), spec(name="b", split_folds=5, split_fold=0)]
    tests = {fold_of(cases, 5, 0).test, *(find_split(Plain(), one, cases).test for one in others)}
    assert len(tests) == 3


def test_the_folds_of_a_file_give_the_same_parts_as_the_rule() -> None:
    cases = [Case(f"c{n:02d}", f"c{n:02d}") for n in range(20)]
    for number in range(5):
        by_rule = fold_of(cases, 5, number, split_seed=3)
        stated = SplitParts(
            train=tuple(sorted({*by_rule.train, *by_rule.validation})), validation=by_rule.test
        )
        by_file = fold_of(cases, 5, number, split_seed=3, split_parts=stated)
        assert by_file.parts == by_rule.parts and by_file.hash == by_rule.hash
        assert "seed 3, share 0.13" in by_rule.rule and "seed 3, share 0.13" in by_file.rule


@settings(deadline=None, max_examples=40, derandomize=True)
@given(cases=patients(), number=st.integers(0, 3), subset=st.integers(0, 50))
def test_few_cases_are_nested_within_a_fold(cases: list[Case], number: int, subset: int) -> None:
    split = fold_of(cases, 4, number)
    drawn = [few_shot_cases(split, cases, n, "any", subset, number) for n in range(1, len(split.train) + 1)]
    assert all({*smaller} < {*larger} for smaller, larger in pairwise(drawn))
    assert {*drawn[-1]} == {*split.train}


def test_folds_draw_few_cases_apart() -> None:
    cases = [Case(f"c{n:02d}", f"c{n:02d}") for n in range(20)]
    split = fold_of(cases, 5, 0)
    assert len({few_shot_cases(split, cases, 4, "any", 0, fold) for fold in (None, 0, 1, 2)}) == 4


def test_more_folds_than_patients() -> None:
    cases = [Case(f"p{n // 2}_{n}", f"p{n // 2}") for n in range(6)]
    with pytest.raises(UserError, match=r"split\.folds: found 4; expected no more than the 3 patient"):
        fold_of(cases, 4, 0)
    assert [len(fold_of(cases, 3, k).test) for k in range(3)] == [2, 2, 2]


def test_excluded_cases_are_in_no_fold() -> None:
    cases = [Case(f"c{n:02d}", f"c{n:02d}") for n in range(20)]
    found = [fold_of(cases, 5, k, split_exclude=("c03",)) for k in range(5)]
    assert sorted(id for split in found for id in split.test) == [c.id for c in cases if c.id != "c03"]
    assert all("without c03" in split.rule for split in found)
    with pytest.raises(UserError, match=r"split\.exclude: found c3; .*Did you mean 'c.3'"):
        fold_of(cases, 5, 0, split_exclude=("c3",))


def test_shares_of_ones_own() -> None:
    cases = [Case(f"c{n:02d}", f"c{n:02d}") for n in range(20)]
    split = find_split(Plain(), spec(split_fractions=(0.5, 0.25, 0.25)), cases)
    assert [len(part) for part in split.parts.values()] == [10, 5, 5]
    assert find_split(Plain(), spec(split_fractions=(0.5, 0, 0.5)), cases).validation == ()
    assert len(fold_of(cases, 5, 0, split_fractions=(0.4, 0.4, 0.2)).validation) == 8


FOLDER = [Case(f"c{n}", f"c{n}", test=n >= 8) for n in range(10)]


def test_the_folders_own_test_cases_are_tested_on() -> None:
    split = find_split(NNUNet(), spec(split_name="folder"), FOLDER)
    assert split.test == ("c8", "c9") and len(split.validation) == 1 and len(split.train) == 7
    assert split.rule.startswith("test cases of the dataset's folder")
    generated = find_split(NNUNet(), spec(), FOLDER)
    assert generated.parts == generate_split(FOLDER[:8], Dataset.fractions, "any", 0).parts
    assert "without 2 test cases of the dataset's folder" in generated.rule


def test_a_folder_without_test_cases_is_divided_as_ever() -> None:
    assert find_split(NNUNet(), spec(split_name="folder"), FOLDER[:8]) == find_split(
        NNUNet(), spec(), FOLDER[:8]
    )


def test_beside_the_folders_test_cases_what_a_fold_holds_out_is_for_validation() -> None:
    found = [
        find_split(NNUNet(), spec(split_name="folder", split_folds=4, split_fold=k), FOLDER) for k in range(4)
    ]
    assert {split.test for split in found} == {("c8", "c9")}
    assert sorted(id for split in found for id in split.validation) == [f"c{n}" for n in range(8)]
    assert all(len(split.train) == 6 for split in found)
    parts = SplitParts(train=("c0", "c1", "c2"), validation=("c3", "c4"))
    split = find_split(NNUNet(), spec(split_name="folder", split_parts=parts), FOLDER)
    assert split.parts == {"train": parts.train, "validation": parts.validation, "test": ("c8", "c9")}
    assert "3 cases in no part (c5, c6, c7)" in split.rule


def test_a_file_with_a_test_part_is_taken_as_it_is() -> None:
    parts = SplitParts(train=("c0", "c9"), validation=("c3",), test=("c1", "c8"), subsets={"few": ("c9",)})
    split = find_split(NNUNet(), spec(split_parts=parts), FOLDER)
    assert split.parts == {"train": parts.train, "validation": parts.validation, "test": parts.test}
    assert few_shot_cases(split, FOLDER, "few", "any", 0) == ("c9",)
    assert "5 cases in no part" in split.rule


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"train": ["c0", "c11"], "test": ["c2"]}, r"1 cases of the split are not there \(c11\).*nearest to 'c11' is 'c1'"),
        ({"train": ["c0"], "test": ["liver_7"]}, r"not there \(liver_7\); expected all of them\. Restore .*split\.exclude\.$"),
        ({"train": ["c0"], "validation": ["C1"], "test": ["c2"]}, r"not there \(C1\)"),
        ({"train": ["p1_a"], "test": ["p1_b"]}, "patient p1 in train and in test"),
        ({"train": ["p1_a"], "validation": ["p1_b"], "test": ["c1"]}, "patient p1 in train and in validation"),
        ({"train": ["c0"], "validation": ["p1_a"], "test": ["p1_b"]}, "patient p1 in validation and in test"),
        ({"train": ["c0", "c8"], "validation": ["c1"]}, "patient c8 in train and in test"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_the_cases(parts: dict[str, list[str]], said: str) -> None:
    cases = [*FOLDER, Case("p1_a", "p1"), Case("p1_b", "p1")]
    with pytest.raises(UserError, match=said):
        find_split(NNUNet(), spec(split_name="folder", split_parts=parts), cases)


def test_a_case_that_is_gone_can_be_excluded_from_a_file() -> None:
    parts = SplitParts(train=("c0", "c1"), validation=("c2",), test=("c3", "c4"))
    split = find_split(NNUNet(), spec(split_parts=parts, split_exclude=("c4",)), FOLDER)
    assert split.test == ("c3",) and "without c4" in split.rule
    with pytest.raises(UserError, match="no case in the part 'test'"):
        find_split(NNUNet(), spec(split_parts=parts, split_exclude=("c3", "c4")), FOLDER)
