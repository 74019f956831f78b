"""The keys below ``split``: files, folds and shares of a study, what they expand to, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.spec import SplitParts, TrialSpec, plain
from harness.study.expand import load_study
from harness.study.selection import choose_cells
from harness.study.study import Study

OWN = {"train": ["a", "b", "c"], "validation": ["d"], "test": ["e", "f"], "subsets": {"two": ["a", "b"]}}
FOLDS = [
    {"train": ["a", "b"], "val": ["c"]},
    {"train": ["a", "c"], "val": ["b"]},
    {"train": ["b", "c"], "val": ["a"]},
]
BASE = "question: why?\nbase: {dataset: '%s', architecture: unet, method: supervised, recipe: {patch: [16, 16, 16], spacing: [1, 1, 1]}%s}\n"


@pytest.fixture
def study(tmp_path: Path):
    """Return a function that loads a study, with split files beside it."""
    (tmp_path / "own.json").write_text(json.dumps(OWN))
    (tmp_path / "same.json").write_text(json.dumps({key: OWN[key] for key in reversed(OWN)}))
    (tmp_path / "folds.json").write_text(json.dumps(FOLDS))
    (tmp_path / "one.json").write_text(json.dumps(FOLDS[:1]))

    def load(split: str = "", rest: str = "", dataset: str = "nnunet:Mine", *overrides: str) -> Study:
        path = tmp_path / "mine.yaml"
        path.write_text(BASE % (dataset, f", split: {split}" if split else "") + rest)
        return load_study(str(path), overrides)

    return load


def test_a_file_is_in_the_id_by_its_content_alone(study, tmp_path: Path) -> None:
    (cell,) = study("{file: own.json}").cells
    parts = cell.spec.dataset.split_parts
    assert parts == SplitParts(
        train=("a", "b", "c"), validation=("d",), test=("e", "f"), subsets={"two": ("a", "b")}
    )
    (same,) = study("{file: same.json}").cells
    (absolute,) = study(f"{{file: {tmp_path / 'own.json'}}}").cells
    assert cell.spec.id == same.spec.id == absolute.spec.id
    (tmp_path / "own.json").write_text(json.dumps({**OWN, "test": ["e"]}))
    assert study("{file: own.json}").cells[0].spec.id != cell.spec.id


def test_a_trial_that_has_been_written_needs_the_file_no_more(study, tmp_path: Path) -> None:
    (cell,) = study("{file: own.json}").cells
    (tmp_path / "own.json").unlink()
    again = TrialSpec.model_validate_json(cell.spec.model_dump_json())
    assert again == cell.spec and again.id == cell.spec.id and hash(again.dataset) == hash(cell.spec.dataset)


def test_a_named_subset_of_a_file(study) -> None:
    assert study("{file: own.json}", "grid: {shots: [two, 1, all]}").cells[0].spec.shots == "two"
    with pytest.raises(UserError, match=r"shots: found 'tow'; .*Did you mean 'two'"):
        study("{file: own.json}", "grid: {shots: [tow]}")


def test_all_folds_are_trials_where_none_is_named(study) -> None:
    loaded = study("{file: folds.json}", "grid: {seed: [0, 1]}")
    assert [(cell.spec.seed, cell.factors["split.fold"]) for cell in loaded.cells] == [
        (seed, fold) for seed in (0, 1) for fold in (0, 1, 2)
    ]
    assert [cell.spec.dataset.split_parts.validation for cell in loaded.cells[:3]] == [("c",), ("b",), ("a",)]
    assert {cell.spec.dataset.split_folds for cell in loaded.cells} == {3}
    assert len({cell.spec.id for cell in loaded.cells}) == 6
    assert study("{file: one.json}").cells[0].spec.dataset.split_folds is None


def test_folds_by_rule_and_a_choice_of_them(study) -> None:
    every = study("{folds: 5}", "", "hippocampus").cells
    assert [plain(cell.spec.dataset)["split_fold"] for cell in every] == [0, 1, 2, 3, 4]
    some = study("{folds: 5}", "grid: {split.fold: [3, 1]}", "hippocampus").cells
    assert [cell.spec.id for cell in some] == [every[3].spec.id, every[1].spec.id]
    (one,) = study("{folds: 5, fold: 3}", "", "hippocampus").cells
    assert one.spec.id == every[3].spec.id and "split.fold" not in one.factors
    loaded = study("{folds: 5}", "", "hippocampus")
    assert [cell.spec.id for cell in choose_cells(loaded, ["split.fold=2"])] == [every[2].spec.id]
    overridden = study("", "", "hippocampus", "split.folds=5")
    assert [cell.spec.id for cell in overridden.cells] == [cell.spec.id for cell in every]


def test_folds_can_be_excepted(study) -> None:
    loaded = study("{folds: 3}", "except: [{split.fold: 1, reason: too slow}]", "hippocampus")
    assert [cell.factors["split.fold"] for cell in loaded.cells] == [0, 2]


def test_folds_of_a_dataset_with_shipped_splits_are_generated(study) -> None:
    (cell, _) = study("{folds: 2}", "", "acdc").cells
    assert cell.spec.dataset.split_name is None
    assert study("", "", "acdc").cells[0].spec.dataset.split_name == "medcontext_140_20_40"


def test_a_folder_takes_its_own_test_cases_and_the_id_says_so(study) -> None:
    (cell,) = study().cells
    (before,) = study("{name: generated}").cells
    assert plain(cell.spec.dataset) == {
        "name": "nnunet:Mine",
        "version": 1,
        "split_seed": 0,
        "split_name": "folder",
    }
    assert plain(before.spec.dataset) == {"name": "nnunet:Mine", "version": 1, "split_seed": 0}
    assert cell.spec.id != before.spec.id
    (nnunets, *_) = study("{file: folds.json}").cells
    assert nnunets.spec.dataset.split_name == "folder"
    assert study("{file: own.json}").cells[0].spec.dataset.split_name is None
    assert study("{file: folds.json}", "", "hippocampus").cells[0].spec.dataset.split_name is None


def test_shares_that_are_the_datasets_own_leave_the_id(study) -> None:
    default = study("", "", "hippocampus").cells[0].spec.id
    assert study("{fractions: [0.65, 0.1, 0.25]}", "", "hippocampus").cells[0].spec.id == default
    (cell,) = study("{fractions: [0.5, 0.1, 0.4]}", "", "hippocampus").cells
    assert cell.spec.id != default and cell.spec.dataset.split_fractions == (0.5, 0.1, 0.4)
    two = study("", "grid: {split.fractions: [[0.5, 0.1, 0.4], [0.6, 0.1, 0.3]]}", "hippocampus").cells
    assert two[0].spec.id == cell.spec.id and len(two) == 2


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("{fil: own.json}", "split.fil: found an unknown key; .*Did you mean 'file'"),
        ("{name: file}", r"split.name: found 'file'; .*Write split: \{file: PATH\}"),
        ("{name: foldr}", "split.name: found 'foldr'; .*Did you mean 'folder'"),
        ("{file: gone.json}", "gone.json: found a file that cannot be read"),
        ("{file: 3}", "split.file: found 3; expected the path"),
        ("{file: ''}", "split.file: found ''; expected the path"),
        ("{file: own.json, fold: 0}", "split.fold: found 0; expected none: own.json has no folds"),
        ("{file: own.json, seed: 1}", "split.seed: found 1; expected none: own.json says all parts"),
        ("{file: own.json, fractions: [0.5, 0.2, 0.3]}", "split.fractions: .*own.json says all parts"),
        ("{file: own.json, name: generated}", "split.name: found 'generated'; expected none beside split.file"),
        ("{file: folds.json, folds: 3}", "split.folds: found 3; expected none beside split.file"),
        ("{file: folds.json, fold: 3}", "split.fold: found 3; expected 0 to 2, the folds of folds.json"),
        ("{file: folds.json, fold: -1}", "split.fold: found -1; expected 0 to 2"),
        ("{file: folds.json, fold: all}", "split.fold: found 'all'; expected 0 to 2"),
        ("{fold: 1}", "split.fold: found 1; expected none without split.folds"),
        ("{folds: 5, fold: 5}", "split.fold: found 5; expected 0 to 4"),
        ("{folds: 5, fold: -1}", "split.fold: found -1"),
        ("{folds: 5, fold: x}", "split.fold: found 'x'; expected an integer"),
        ("{folds: 1}", "split.folds: found 1"),
        ("{folds: 0}", "split.folds: found 0"),
        ("{folds: true}", "split.folds: found True"),
        ("{folds: five}", "split.folds: found 'five'; expected an integer"),
        ("{fractions: [0.5, 0.5]}", r"split.fractions: found \[0.5, 0.5\]; expected 3 numbers"),
        ("{fractions: [0.5, 0.3, 0.3]}", "split.fractions: .*add up to 1"),
        ("{fractions: [1, 0, 0]}", "split.fractions: .*only validation may be 0"),
        ("{fractions: [-0.1, 0.5, 0.6]}", "split.fractions: .*add up to 1"),
        ("{fractions: 0.5}", "split.fractions: found 0.5; expected a list"),
    ],
)  # fmt: skip
def test_what_is_refused(study, split: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        study(split)
    assert re.search(said, str(caught.value)), caught.value


@pytest.mark.parametrize("key", ["folds: 2", "seed: 1", "fractions: [0.5, 0.2, 0.3]"])
def test_a_shipped_split_is_a_fixed_list(study, key: str) -> None:
    with pytest.raises(
        UserError, match=f"split.{key.partition(':')[0]}: .* none: the split .* is a fixed list"
    ):
        study(f"{{name: medcontext_140_20_40, {key}}}", "", "acdc")


def test_a_search_takes_one_fold(study) -> None:
    search = "search: {arms: {supervised: {recipe.learning_rate: {low: 0.001, high: 0.01}}}, suggestions: 2, confirm: {seeds: [5]}}"
    with pytest.raises(UserError, match=r"split\.fold: found nothing; expected one fold"):
        study("{folds: 3}", search, "hippocampus")
    loaded = study("{folds: 3, fold: 1}, recipe.validate_every: 100", search, "hippocampus")
    assert loaded.cells[0].spec.dataset.split_fold == 1
