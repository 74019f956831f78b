"""What a content hash stands for, and what has changed since."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.data.trial_data import load_trial_data
from harness.errors import UserError
from harness.progress.same_data import check_data
from harness.records.contents import CONTENTS, describe_change, keep_contents, read_contents
from harness.spec import digest
from harness.study.expand import load_study

BEFORE = {"a": "1", "b": "2", "c": "3"}


def test_what_is_kept_is_read_again_by_its_hash(tmp_path: Path) -> None:
    keep_contents(tmp_path / "own", BEFORE)
    keep_contents(tmp_path / "own", BEFORE)
    assert read_contents([tmp_path / "none", tmp_path / "own"], digest(BEFORE)) == BEFORE
    assert read_contents([tmp_path / "own"], "0" * 16) is None


@pytest.mark.parametrize("text", ["", "{", '{"a": "1"}', "[]", "\0\0"])
def test_a_damaged_list_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{digest(BEFORE)}.json").write_text(text)
    assert read_contents([tmp_path], digest(BEFORE)) is None


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({**BEFORE, "b": "x"}, "1 case (b) with other files"),
        ({"a": "1", "c": "3"}, "1 case (b) not there any more"),
        ({**BEFORE, "e": "5", "d": "4"}, "2 cases (d, e) new"),
        (
            {"a": "1", "b": "y", "d": "4"},
            "1 case (b) with other files; 1 case (c) not there any more; 1 case (d) new",
        ),
    ],
)
def test_a_change_names_its_cases(now: dict[str, str], said: str) -> None:
    assert describe_change(BEFORE, now) == said


def test_of_many_cases_ten_are_named() -> None:
    before = {f"case_{number:03d}": "1" for number in range(12)}
    said = describe_change(before, dict.fromkeys(before, "2"))
    assert said.startswith("12 cases (case_000, ") and said.endswith("case_009 and 2 more) with other files")


def test_a_record_of_other_data_is_refused_by_the_names_of_the_cases(tmp_path: Path) -> None:
    (cell, *_) = load_study("quickstart").cells
    contents = load_trial_data(cell.spec, None).contents
    changed, *_ = contents
    before = {**contents, changed: "other", "lost": "1"}
    record = SimpleNamespace(id=cell.spec.id, protocol=SimpleNamespace(content_hash=digest(before)))
    store = SimpleNamespace(record=lambda id: record, trials=tmp_path / "trials", results=tmp_path)
    with pytest.raises(UserError, match="which cases differ is not known"):
        check_data([cell], [cell], store, None)  # type: ignore[arg-type]
    keep_contents(tmp_path / CONTENTS, before)
    assert json.loads((tmp_path / CONTENTS / f"{digest(before)}.json").read_text()) == before
    expected = rf"1 case \({changed}\) with other files; 1 case \(lost\) not there any more"
    with pytest.raises(UserError, match=expected):
        check_data([cell], [cell], store, None)  # type: ignore[arg-type]
