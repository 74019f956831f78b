"""Split files of one's own: three formats, and what is wrong in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.split_files import read_split_file
from harness.errors import UserError
from harness.spec import SplitParts


@pytest.fixture
def split_file(tmp_path: Path):
    """Return a function that writes a split file and returns its path."""

    def write(content: Any) -> Path:
        path = tmp_path / "split.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_the_projects_own_format(split_file) -> None:
    content = {"train": ["b", "a", "c"], "validation": ["d"], "test": ["e"], "subsets": {"two": ["c", "a"]}}
    found = read_split_file(split_file(content))
    assert not found.folded
    assert found.folds == (
        SplitParts(train=("a", "b", "c"), validation=("d",), test=("e",), subsets={"two": ("a", "c")}),
    )


def test_a_split_that_is_shipped_can_be_copied(split_file) -> None:
    shipped = Path("harness/data/splits/acdc.medcontext_140_20_40.json").read_text()
    (parts,) = read_split_file(split_file(shipped)).folds
    assert (len(parts.train), len(parts.validation), len(parts.test or ())) == (140, 20, 40)


def test_nnunets_folds_have_no_test_part(split_file) -> None:
    found = read_split_file(
        split_file([{"train": ["b", "a"], "val": ["c"]}, {"train": ["c", "a"], "val": ["b"]}])
    )
    assert found.folded
    assert found.folds == (
        SplitParts(train=("a", "b"), validation=("c",)),
        SplitParts(train=("a", "c"), validation=("b",)),
    )


def test_monais_list_is_read_by_labels_and_tests_on_what_has_one(split_file) -> None:
    content = {
        "training": [
            {"image": "imagesTr/img0002.nii.gz", "label": "labelsTr/label0002.nii.gz"},
            {"image": ["a_0000.nii.gz", "a_0001.nii.gz"], "label": "a.nii.gz"},
        ],
        "validation": [{"image": "x/c.nii", "label": "y/c.nii"}],
        "test": ["imagesTs/unlabelled.nii.gz", {"image": "d.mha"}, {"image": "t_0000.mha", "label": "t.mha"}],
        "numTraining": 2,
    }
    (parts,) = read_split_file(split_file(content)).folds
    assert parts == SplitParts(train=("a", "img0002"), validation=("c",), test=("t",))
    del content["test"]
    (parts,) = read_split_file(split_file(content)).folds
    assert parts.test is None


@settings(deadline=None, max_examples=50, derandomize=True)
@given(folds=st.lists(st.integers(0, 4), min_size=4, max_size=30).filter(lambda own: len(set(own)) > 1))
def test_monais_folds_are_each_held_out_once(tmp_path_factory, folds: list[int]) -> None:
    entries = [{"image": f"i/{n}.nii", "label": f"l/c{n}.nii", "fold": fold} for n, fold in enumerate(folds)]
    path = tmp_path_factory.mktemp("monai") / "dataset_0.json"
    path.write_text(json.dumps({"training": entries, "testing": [{"image": "i/x.nii"}]}))
    found = read_split_file(path)
    every = {f"c{n}" for n in range(len(folds))}
    assert found.folded and len(found.folds) == len(set(folds))
    assert sorted(id for parts in found.folds for id in parts.validation) == sorted(every)
    for parts in found.folds:
        assert {*parts.train} == every - {*parts.validation} and parts.test is None


def test_order_in_the_file_does_not_matter(split_file) -> None:
    one = read_split_file(split_file({"train": ["a", "b"], "test": ["d", "c"]}))
    assert one == read_split_file(split_file({"test": ["c", "d"], "train": ["b", "a"]}))


NNUNET = {"train": ["a"], "val": ["b"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "JSON that cannot be read"),
        ('{"train": ["a"], "train": ["b"]}', "key 'train' twice"),
        ("[" * 100_000, "JSON that cannot be read"),
        ([], "found an empty list; expected an object with 'train'"),
        ({}, "found an empty dict"),
        ("7", "found int"),
        ({"trian": ["a"]}, "found an object with the keys 'trian'"),
        ({"train": ["a"], "tets": ["b"]}, "unknown key 'tets'.*Did you mean 'test'"),
        ({"train": ["a"], "val": ["b"], "validation": ["c"]}, "both 'val' and 'validation'"),
        ({"train": "a", "test": ["b"]}, "train: found a str; expected a list of case ids"),
        ({"train": ["a", 3], "test": ["b"]}, "train: found 3 in the list"),
        ({"train": ["a", ""], "test": ["b"]}, "train: found '' in the list"),
        ({"train": ["a", "a"], "test": ["b"]}, "train: found case 'a' twice"),
        ({"train": [], "test": ["b"]}, "train: found no case"),
        ({"train": ["a"]}, "found no case to test on"),
        ({"train": ["a"], "validation": ["b"], "test": []}, "found no case to test on"),
        ({"train": ["a", "b"], "test": ["b"]}, "found case 'b' in train and in test"),
        ({"train": ["a"], "validation": ["c"], "test": ["b", "c"]}, "found case 'c' in validation and in test"),
        ({"train": ["a"], "test": ["b"], "subsets": ["a"]}, "subsets: found a list"),
        ({"train": ["a"], "test": ["b"], "subsets": {"few": ["b"]}}, "subsets.few: found 'b'.*training part"),
        ({"train": ["abc"], "test": ["b"], "subsets": {"few": ["abd"]}}, "found 'abd'.*Did you mean 'abc'"),
        ({"train": ["a"], "test": ["b"], "subsets": {"all": ["a"]}}, "subsets: found 'all'"),
        ({"train": ["a"], "test": ["b"], "subsets": {"few": []}}, "subsets.few: found no case"),
        ([NNUNET, ["a"]], "fold 1: found a list"),
        ([NNUNET, {"train": ["a"], "val": ["a"]}], "fold 1: found case 'a' in train and in val"),
        ([NNUNET, {"train": ["a"], "vall": ["a"]}], "fold 1: found unknown key 'vall'"),
        ([{"train": ["a"]}], "fold 0: found no case to test on"),
        ({"training": {}}, "training: found a dict; expected a list"),
        ({"training": [{"image": "a"}], "validation": []}, "training: found .* expected an object with the path"),
        ({"training": [{"label": "a.nii"}, {"label": "b/a.nii"}]}, "training: found case 'a' twice"),
        ({"training": [{"label": "a.nii"}]}, "no case to test on"),
        ({"training": [{"label": "a.nii", "fold": 0}, {"label": "b.nii"}]}, "training: found fold None"),
        ({"training": [{"label": "a.nii", "fold": 0}, {"label": "b.nii", "fold": "1"}]}, "found fold '1'"),
        ({"training": [{"label": "a.nii", "fold": 0}, {"label": "b.nii", "fold": 0}]}, "found one fold"),
        (
            {"training": [{"label": "a.nii", "fold": 0}], "validation": [{"label": "b.nii"}]},
            "found a list 'validation' beside folds",
        ),
        ({"training": [{"label": "a.nii"}], "test": [], "testing": []}, "both 'testing' and 'test'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(split_file, content: Any, said: str) -> None:
    path = split_file(content)
    with pytest.raises(UserError) as caught:
        read_split_file(path)
    assert str(caught.value).startswith(str(path)) and re.search(said, str(caught.value))


def test_a_file_that_is_not_there_says_where_its_parts_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No such file.*spec\.dataset\.split_parts"):
        read_split_file(tmp_path / "gone.json")
    with pytest.raises(UserError, match="Is a directory"):
        read_split_file(tmp_path)
