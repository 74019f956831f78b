"""Published records: small, complete, and taken over to the same numbers."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmarks.analysis_scale import synthetic_study, write_records
from PIL import Image

import harness
from harness.commands.report import write_known
from harness.errors import UserError
from harness.publishing.adopt import adopt, journal_folder, made_from_other_data, published_states
from harness.publishing.publish import publish, thinned
from harness.publishing.records import case_rows
from harness.records.processes import Process
from harness.records.schema import TrialRecord, read_history, write_record
from harness.records.store import Store
from harness.reporting.write import Report, write_report
from harness.search.findings import JOURNAL
from harness.spec import DatasetSpec, TrialSpec
from harness.study.study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Return a study of 25 trials whose records lie in ``tmp_path``."""
    study = synthetic_study(25)
    write_records(study, tmp_path)
    return study


def test_a_published_study_is_rebuilt_to_the_same_tables(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = write_report(study, tmp_path)
    folder = publish(study, study.cells, Store(tmp_path), report.answer, report.captions)
    page = (folder / "README.md").read_text()
    assert study.question in page and f"**{report.answer}**" in page and "| Supervised |" in page
    figures = re.findall(r"!\[.*?\]\((.+?)\)", page)
    assert len(figures) == len(report.captions) > 3 and "**Gains over the baseline.** Difference" in page
    assert all((folder / name).is_file() for name in figures)
    end = page.partition("## Other tables and records")[2]
    links = re.findall(r"\]\((.+?)\)", end)
    assert {"tables/comparisons.md", "tables/cost.md", "tables/trials.md", "records"} <= {*links}
    assert "tables/dice.md" not in links and all((folder / name).exists() for name in links)
    commits = {Store(tmp_path).record(cell.spec.id).environment.commit for cell in study.cells}
    assert len(commits) == 1 and f"{commits.pop()} ({len(study.cells)})" in end
    tables = {path.name: path.read_text() for path in (folder / "tables").iterdir()}
    assert {"dice.md", "dice.csv", "comparisons.tex"} <= tables.keys()
    assert sum(path.stat().st_size for path in (folder / "records").iterdir()) < 5000 * len(study.cells)

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere / "published" / study.name)
    store = Store(elsewhere)
    assert adopt(study.cells, store) == len(study.cells)
    assert adopt(study.cells, store) == 0
    monkeypatch.setattr(
        "harness.reporting.figures.drawing.drawing_in", lambda *arguments: nullcontext(lambda _: [])
    )
    write_report(study, elsewhere)
    for name, text in tables.items():
        assert (elsewhere / study.name / "tables" / name).read_text() == text
    trial = study.cells[3].spec.id
    record, before = store.record(trial), Store(tmp_path).record(trial)
    assert before.environment.host and record == before.model_copy(
        update={"environment": before.environment.model_copy(update={"host": ""})}
    )
    assert list(read_history(store.trials / trial))[-1] == list(read_history(tmp_path / "trials" / trial))[-1]


def test_the_same_records_are_the_same_bytes(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = (publish(study, study.cells, store, "yes", {}) / "records" / "trials.jsonl.gz").read_bytes()
    assert (
        publish(study, study.cells, store, "yes", {}) / "records" / "trials.jsonl.gz"
    ).read_bytes() == first


def test_only_what_is_missing_is_taken_over(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(study, study.cells, store, "yes", {})
    lost = [cell.spec.id for cell in study.cells[:2]]
    for id in lost:
        shutil.rmtree(store.trials / id)
    assert published_states(study.cells, store) == dict.fromkeys(lost, "complete")
    assert adopt(study.cells[1:], store) == 1
    assert published_states(study.cells, store) == {lost[0]: "complete"}
    assert store.status(lost[0]) == "pending" and store.status(lost[1]) == "complete"


def test_what_a_search_stopped_early_is_taken_over_as_that_unless_another_study_has_it_whole(
    study: Study, tmp_path: Path
) -> None:
    store, (whole, stopped) = Store(tmp_path), study.cells[:2]
    publish(replace(study, name="later"), [whole], store, "yes", {})
    for cell in (whole, stopped):
        shutil.rmtree(folder := store.trials / cell.spec.id)
        folder.mkdir()
        write_record(folder, TrialRecord(id=cell.spec.id, status="pruned", kind="train", spec=cell.spec))
    publish(replace(study, name="earlier"), study.cells[:3], store, "yes", {})
    shutil.rmtree(store.trials)
    expected = {whole.spec.id: "complete", stopped.spec.id: "pruned"}
    assert published_states([whole, stopped], store) == expected
    assert adopt([whole, stopped], store) == 2 and adopt([whole, stopped], store) == 0
    assert {id: store.status(id) for id in expected} == expected


def test_what_other_data_gave_is_told_where_something_is_trained(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = Store(tmp_path), []
    publish(study, study.cells[:2], store, "yes", {})
    before = {"case_1": "a", "case_2": "b", "case_3": "c"}
    monkeypatch.setattr(
        "harness.publishing.adopt.digest", lambda contents: "0" * 16 if contents == before else ""
    )
    published, unpublished = study.cells[:2], study.cells[2]
    for cell in study.cells[:3]:
        shutil.rmtree(store.trials / cell.spec.id)

    def here(spec: TrialSpec) -> dict[str, str]:
        asked.append(spec.id)
        return found

    found = {"case_1": "a", "case_2": "other"}
    assert made_from_other_data(published, store, here) == {} and not asked  # nothing to train
    assert made_from_other_data([*published, unpublished], store, here) == {
        cell.spec.id: "which cases differ is not known: the record keeps no list of their contents"
        for cell in published
    }
    assert len(asked) == 1
    found = before
    assert made_from_other_data([*published, unpublished], store, here) == {}


def test_data_are_asked_for_only_where_something_is_trained_on_them(study: Study, tmp_path: Path) -> None:
    store, published = Store(tmp_path), study.cells[0]
    publish(study, [published], store, "yes", {})
    shutil.rmtree(store.trials / published.spec.id)
    elsewhere = DatasetSpec(name="another", version=1)
    other = replace(published, spec=published.spec.model_copy(update={"dataset": elsewhere}))

    def nowhere(spec: TrialSpec) -> str:
        raise UserError(spec.dataset.name, "no data", "some", "Fetch them.")

    assert made_from_other_data([published, other], store, nowhere) == {}


def test_what_a_killed_publish_left_is_not_read(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = publish(study, study.cells, store, "yes", {})
    shutil.copytree(folder / "records", tmp_path / "published" / ".left" / "records")
    (tmp_path / "published" / ".left" / "records" / "trials.jsonl.gz").write_bytes(b"torn")
    shutil.rmtree(store.trials)
    assert len(published_states(study.cells, store)) == adopt(study.cells, store) == len(study.cells)


def test_a_publish_that_fails_leaves_nothing(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish(study, study.cells, Store(tmp_path), "yes", {})
    monkeypatch.setattr("harness.publishing.publish._page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish(study, study.cells, Store(tmp_path), "yes", {})
    assert list(folder.parent.iterdir()) == [folder] and (folder / "README.md").is_file()


@pytest.mark.parametrize("content", [b"torn", b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_published_scores_that_cannot_be_read_are_named(study: Study, tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    path = publish(study, study.cells, store, "yes", {}) / "records" / "cases.parquet"
    path.write_bytes(content)
    shutil.rmtree(store.trials)
    for read in (lambda: adopt(study.cells, store), lambda: case_rows(tmp_path, [study.cells[0].spec.id])):
        with pytest.raises(UserError, match=f"{path}.*Restore the file"):
            read()


def test_published_scores_are_read_until_all_are_found(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path)
    own = case_rows(tmp_path, wanted := [cell.spec.id for cell in study.cells[:2]])
    shutil.copytree(publish(study, study.cells, store, "yes", {}), tmp_path / "published" / "zz_another")
    shutil.rmtree(store.trials)
    found = case_rows(tmp_path, wanted)
    assert [len(found[id]) for id in wanted] == [len(own[id]) for id in wanted]
    assert not case_rows(tmp_path, ["0" * 16])


def test_a_published_search_is_read_until_there_is_one_of_its_own(study: Study, tmp_path: Path) -> None:
    store, own = Store(tmp_path), tmp_path / study.name
    published = tmp_path / "published" / study.name / "records"
    assert journal_folder(study, store) == own
    for folder in (published, own):
        folder.mkdir(parents=True)
        (folder / JOURNAL).touch()
        assert journal_folder(study, store) == folder


def test_a_record_that_is_not_what_its_id_says_is_refused(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = publish(study, study.cells, store, "yes", {}) / "records" / "trials.jsonl.gz"
    entry = json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])
    entry["record"]["spec"]["seed"] = 99
    path.write_bytes(gzip.compress(json.dumps(entry).encode()))
    shutil.rmtree(store.trials)
    with pytest.raises(UserError, match=str(path)):
        adopt(study.cells, store)
    path.write_bytes(b"torn")
    with pytest.raises(UserError, match=str(path)):
        adopt(study.cells, store)


def test_pictures_of_images_stay_in_the_report(study: Study, tmp_path: Path) -> None:
    store, figures = Store(tmp_path), tmp_path / study.name / "figures"
    figures.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    for name in ("gains.png", "qualitative.png", "qualitative_acdc.png"):
        Image.fromarray(noise).save(figures / name)
    (figures / "qualitative.pdf").write_text("a page")
    captions = {"gains": ("Gains", "As told."), "qualitative": ("Predictions", "Three cases.")}
    folder = publish(study, study.cells, store, "yes", captions)
    assert [path.name for path in (folder / "figures").iterdir()] == ["gains.png"]
    with Image.open(folder / "figures" / "gains.png") as picture:
        assert picture.size == (40, 40) and picture.mode == "P", "of few colours, and so small"
    page = (folder / "README.md").read_text()
    assert "Gains" in page and "Predictions" not in page and page.count("## Other tables and records") == 1


def test_trials_that_run_or_end_while_it_is_published_are_pending_in_tables_and_records_alike(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, ending = Store(tmp_path), study.cells[4].spec.id
    record, aside = store.trials / ending, tmp_path / "aside"
    record.rename(aside)
    assert store.claim(ending, Process.this()) and store.status(ending) == "running"
    monkeypatch.setattr(
        "harness.reporting.figures.drawing.drawing_in", lambda *arguments: nullcontext(lambda _: [])
    )

    def written(*arguments: Any, **options: Any) -> Report:
        aside.rename(record)
        return write_known(*arguments, **options)

    monkeypatch.setattr("harness.commands.publish.write_known", written)
    folder = harness.publish(study, results=tmp_path).folder
    assert store.status(ending) == "complete"
    lines = gzip.decompress((folder / "records" / "trials.jsonl.gz").read_bytes()).decode()
    assert ending not in lines and lines.count('"status": "complete"') == 24
    trials = pd.read_csv(folder / "tables" / "trials.csv").set_index("id")["status"]
    assert trials[ending] == "pending" and trials.value_counts().to_dict() == {"complete": 24, "pending": 1}
    assert "1 pending" in (folder / "tables" / "dice.md").read_text()


def test_nothing_complete_is_nothing_to_publish(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no complete trial"):
        publish(synthetic_study(25), synthetic_study(25).cells, Store(tmp_path), "", {})


def test_a_history_keeps_its_validations_and_its_last_step() -> None:
    losses = [{"step": step, "losses": {"total": 1.0}, "learning_rate": 0.1} for step in range(500)]
    checked = [{"step": 250, "validation": {"a": 0.5}, "mean": 0.5}]
    kept = thinned([*losses[:250], *checked, *losses[250:]])
    assert checked[0] in kept and kept[0]["step"] == 0 and kept[-1]["step"] == 499
    assert 30 <= len(kept) <= 43


def test_publishing_what_was_taken_over_gives_the_same_bytes(study: Study, tmp_path: Path) -> None:
    folder = publish(study, study.cells, Store(tmp_path), "yes", {})
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere / "published" / study.name)
    store = Store(elsewhere)
    adopt(study.cells, store)
    again = publish(study, study.cells, store, "yes", {})
    assert (again / "records" / "trials.jsonl.gz").read_bytes() == (
        folder / "records" / "trials.jsonl.gz"
    ).read_bytes()


def test_a_published_trial_without_scores_is_not_taken_over(study: Study, tmp_path: Path) -> None:
    folder = publish(study, study.cells, Store(tmp_path), "yes", {})
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere / "published" / study.name)
    (elsewhere / "published" / study.name / "records" / "cases.parquet").unlink()
    with pytest.raises(UserError, match="no scores of the complete trial"):
        adopt(study.cells, Store(elsewhere))
