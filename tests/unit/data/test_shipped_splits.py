"""Shipped splits and few-shot subsets: what they hold, what is left out, and what may be named."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trials_of_datasets import load, spec_of

from harness import registry
from harness.data.datasets.contract import Case
from harness.data.layout_twins import write_twin
from harness.data.splits import few_shot_cases, shipped_split
from harness.data.trial_data import load_trial_data
from harness.errors import UserError
from harness.progress.same_data import check_data
from harness.study.cells import Cell

SHIPPED = [
    (name, split) for name in ("synapse", "acdc", "brats") for split in registry.load("dataset", name).splits
]
HASHES = {
    "synapse.transunet_18_12": "5a5ebd9a650d5a7a", "synapse.medcontext_unetr_18_12": "85e30995986569f9",
    "synapse.transunet_18_12_no_validation": "5895c17f6c9664a0", "synapse.medcontext_unetr_18_12_no_validation": "e1c820fa8c01cb9f",
    "acdc.medcontext_140_20_40": "844e6d11c02d87b1", "brats.unetr_pp_387_73_24": "45616fe95e92413d",
}  # fmt: skip


@pytest.mark.parametrize(("name", "split"), SHIPPED)
def test_shipped_splits_do_not_change(name: str, split: str) -> None:
    assert shipped_split(name, split).hash == HASHES[f"{name}.{split}"]


def test_sizes_of_the_shipped_splits() -> None:
    sizes = {
        f"{name}.{split}": tuple(map(len, (s.train, s.validation, s.test)))
        for name, split in SHIPPED
        for s in [shipped_split(name, split)]
    }
    assert sizes == {
        "synapse.transunet_18_12": (15, 3, 12), "synapse.medcontext_unetr_18_12": (15, 3, 12),
        "synapse.transunet_18_12_no_validation": (18, 0, 12),
        "synapse.medcontext_unetr_18_12_no_validation": (18, 0, 12),
        "acdc.medcontext_140_20_40": (140, 20, 40), "brats.unetr_pp_387_73_24": (387, 73, 24),
    }  # fmt: skip


@pytest.mark.skipif("MEDCTX_SPEC" not in os.environ, reason="MEDCTX_SPEC names no folder with splits/*.json")
@pytest.mark.parametrize(("name", "split"), SHIPPED)
def test_shipped_splits_equal_the_published_lists(name: str, split: str) -> None:
    published = json.loads((Path(os.environ["MEDCTX_SPEC"]) / "splits" / f"{name}.json").read_text())
    if name == "synapse":
        published = published["splits"][split.removesuffix("_no_validation")]
    ours = shipped_split(name, split)
    assert sorted((*ours.train, *ours.validation)) == sorted(published["train"] + published.get("val", []))
    assert sorted(ours.test) == sorted(published["test"])
    if name != "synapse":
        assert sorted(ours.validation) == sorted(published["val"])


def shipped_cases(name: str, split: str) -> list[Case]:
    dataset, parts = load(name), shipped_split(name, split)
    ids = (*parts.train, *parts.validation, *parts.test)
    return [Case(id, dataset.patient(id)) for id in ids]


@pytest.mark.parametrize(("name", "split"), SHIPPED)
def test_no_patient_is_in_two_parts(name: str, split: str) -> None:
    dataset, parts = load(name), shipped_split(name, split)
    patients = [{dataset.patient(id) for id in ids} for ids in (parts.train, parts.validation, parts.test)]
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(subset=st.integers(0, 10_000), which=st.sampled_from(SHIPPED))
def test_few_shot_subsets_are_nested_for_any_draw(subset: int, which: tuple[str, str]) -> None:
    name, split = which
    parts, cases = shipped_split(name, split), shipped_cases(name, split)
    chosen = [set(few_shot_cases(parts, cases, shots, name, subset)) for shots in (1, 2, 5, 10)]
    for smaller, larger in pairwise(chosen):
        assert smaller < larger <= set(parts.train)


def test_published_few_shot_cases_have_names(tmp_path: Path) -> None:
    parts = shipped_split("acdc", "medcontext_140_20_40")
    chosen = few_shot_cases(parts, shipped_cases("acdc", "medcontext_140_20_40"), "medcontext_5", "acdc", 0)
    assert chosen == (
        "patient001_frame12", "patient004_frame15", "patient005_frame01", "patient013_frame14",
        "patient043_frame07",
    )  # fmt: skip
    assert spec_of("synapse", shots="medcontext_1").shots == "medcontext_1"
    with pytest.raises(UserError, match="medcontext_5"):
        spec_of("synapse", shots="medcontext_6")
    with pytest.raises(UserError, match="a number, 'all'"):
        spec_of("phantom", shots="medcontext_5")


def test_a_case_of_the_split_that_is_not_there_is_an_error_but_in_a_twin(tmp_path: Path) -> None:
    root = write_twin("acdc", tmp_path, cases=2)
    assert len(load_trial_data(spec_of("acdc"), root).split.train) == 4
    (root / "TWIN.json").unlink()
    with pytest.raises(UserError, match="188 cases"):
        load_trial_data(spec_of("acdc"), root)


def test_an_excluded_case_changes_the_split(tmp_path: Path) -> None:
    root = write_twin("acdc", tmp_path, cases=2)
    whole = load_trial_data(spec_of("acdc"), root).split
    case = whole.train[0]
    less = load_trial_data(spec_of("acdc", **{"split.exclude": [case]}), root).split
    assert case not in less.train and less.hash != whole.hash and f"without {case}" in less.rule
    with pytest.raises(UserError, match="nobody"):
        load_trial_data(spec_of("phantom", **{"split.exclude": ["nobody"]}), None)
    order = spec_of("acdc", **{"split.exclude": ["b", "a", "b"]})
    assert order.id == spec_of("acdc", **{"split.exclude": ["a", "b"]}).id
    generated = load_trial_data(spec_of("phantom", **{"split.exclude": ["phantom_001"]}), None).split
    assert "phantom_001" not in (*generated.train, *generated.validation, *generated.test)


def test_a_broken_case_does_not_matter_once_it_is_excluded(tmp_path: Path) -> None:
    root = write_twin("acdc", tmp_path, cases=2)
    case = next(case for case in load("acdc").cases(root) if case.id == "patient004_frame01")
    case.image.write_bytes(b"")
    with pytest.raises(UserError, match="patient004_frame01"):
        load_trial_data(spec_of("acdc"), root)
    assert load_trial_data(spec_of("acdc", **{"split.exclude": ["patient004_frame01"]}), root).training


def test_names_of_splits_and_pipelines_are_checked_before_any_data_is_read() -> None:
    assert spec_of("synapse").dataset.split_name == "transunet_18_12"
    assert spec_of("synapse", **{"split.name": "generated"}).dataset.split_name is None
    assert spec_of("synapse", **{"recipe.pipeline": "nnunet"}).recipe.spacing == (0.7578, 0.7578, 3.0)
    with pytest.raises(UserError, match="transunet_18_12"):
        spec_of("synapse", **{"split.name": "transunet"})
    with pytest.raises(UserError, match="nnunet"):
        spec_of("synapse", **{"recipe.pipeline": "nnnet"})
    with pytest.raises(UserError, match="a fixed list"):
        spec_of("synapse", **{"split.seed": 1})
    assert spec_of("synapse", **{"split.name": "generated", "split.seed": 1}).dataset.split_seed == 1


def test_trials_that_leave_out_other_cases_are_not_taken_for_trials_on_other_data(tmp_path: Path) -> None:
    whole, less = spec_of("phantom"), spec_of("phantom", **{"split.exclude": ["phantom_001"]})
    cells = [Cell(spec, {"dataset": "phantom"}, spec.recipe.steps) for spec in (whole, less)]
    done = SimpleNamespace(
        id=whole.id, protocol=SimpleNamespace(content_hash=load_trial_data(whole, None).content)
    )
    store = SimpleNamespace(
        record=lambda id: done if id == whole.id else None, trials=tmp_path / "trials", results=tmp_path
    )
    check_data(cells, cells[1:], store, None)
    done.protocol.content_hash = "another"
    with pytest.raises(UserError, match="another, that of the record"):
        check_data(cells, cells, store, None)
