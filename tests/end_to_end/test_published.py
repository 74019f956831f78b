"""What is published under results/: every study's tables are rebuilt from its records to the same bytes."""

from __future__ import annotations

import gzip
import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from harness.commands.report import write_known
from harness.progress.adoption import adopt_published
from harness.records.store import Store
from harness.study.expand import load_study

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
STUDIES = sorted(path.name for path in PUBLISHED.iterdir()) if PUBLISHED.is_dir() else []
LARGEST = 20 * 2**20  # bytes, of all together


def test_published_results_are_small_and_of_shipped_studies() -> None:
    files = [path for path in PUBLISHED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    assert not [path for path in files if path.suffix in (".pt", ".gz") and path.name != "trials.jsonl.gz"]
    for name in STUDIES:
        load_study(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_published_tables_are_rebuilt_from_their_records(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "harness.reporting.figures.drawing.drawing_in", lambda *arguments: nullcontext(lambda _: [])
    )
    shutil.copytree(PUBLISHED, tmp_path / "published")
    study, store = load_study(name), Store(tmp_path)
    records = PUBLISHED / name / "records" / "trials.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(records.read_bytes()).splitlines()]
    kinds = [line["record"]["kind"] for line in lines]
    taken = adopt_published(study, store)
    assert taken.number == kinds.count("train") > 0
    written = write_known(taken.known, store)
    assert not written.refused
    assert written.answer in (PUBLISHED / name / "README.md").read_text()
    published = {path.name: path.read_text() for path in (PUBLISHED / name / "tables").iterdir()}
    rebuilt = {path.name: path.read_text() for path in (tmp_path / name / "tables").iterdir()}
    assert rebuilt == published
