"""What the commands say of a study that searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_trials import STUDY, run, run_search, write_study

from harness.records.store import Store
from harness.reporting.write import Report
from harness.search.findings import Findings
from harness.study.study import Study
from harness.sweep.agenda import Agenda, plain_work


def confirm_defaults(study: Study, results: Path) -> None:
    store = Store(results)
    agenda = Agenda(plain_work(study.cells, store), store)
    while task := agenda.next():
        run(store, task)
        agenda.returned(task.spec.id)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[list[Findings]]:
    """Write no report, but collect the searches that one would be written of."""
    seen: list[list[Findings]] = []

    def write_report(*arguments: Any) -> Report:
        seen.append(arguments[5])
        return Report(Path("report.html"), "yes", {}, {})

    monkeypatch.setattr("harness.commands.report.write_report", write_report)
    return seen


@pytest.fixture
def counts(medctx, tmp_path: Path):
    def status() -> dict[str, int]:
        return json.loads(medctx("status", tmp_path / "sought.yaml", "--results", tmp_path, "--json").out)

    return status


def test_status_counts_what_is_to_come(medctx, tmp_path: Path, counts) -> None:
    study = write_study(tmp_path)
    planned = 2 + 7 * 2 + 2 * 2
    nothing = dict.fromkeys(("complete", "running", "failed", "pending", "skipped", "pruned"), 0)
    assert counts() == {"planned": planned, **nothing, "pending": planned}
    run_search(write_study(tmp_path, STUDY.replace("suggestions: 7", "suggestions: 3")), tmp_path)
    write_study(tmp_path)
    assert counts() == {"planned": planned, **nothing, "complete": 6, "pending": planned - 6}
    run_search(study, tmp_path)
    assert counts() == {"planned": planned, **nothing, "complete": planned - 2, "pending": 2}
    confirm_defaults(study, tmp_path)
    assert counts() == {"planned": planned, **nothing, "complete": planned}
    said = medctx("status", tmp_path / "sought.yaml", "--results", tmp_path).out
    assert "search of medcontext: 7 suggestions (7 complete)" in said


def test_a_plan_counts_what_is_to_come_until_it_is_there(medctx, tmp_path: Path) -> None:
    def said() -> str:
        return medctx("plan", tmp_path / "sought.yaml", "--results", tmp_path).out

    study = write_study(tmp_path)
    assert "2 trials to run\nand 18 to come of searches" in said()
    run_search(study, tmp_path)
    assert "2 trials to run" in said() and "to come of searches" not in said()


def test_a_search_that_is_over_is_reported_and_nothing_is_run(medctx, tmp_path: Path, reported) -> None:
    study = write_study(tmp_path)
    confirm_defaults(study, tmp_path)
    run_search(study, tmp_path, fails=lambda spec: "nan" if spec.recipe.learning_rate > 0.007 else "")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*")}
    done = medctx("run", tmp_path / "sought.yaml", "--results", tmp_path)
    assert done.code == 0 and "20 trials: 20 done, 0 to run, 0 skipped\n" in done.out
    assert "failed)" in done.out and "report:" in done.out
    ((found,),) = reported
    assert len(found.suggestions) == 7 and sum(found.importances.values()) == pytest.approx(1)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*")}


def test_a_search_of_which_nothing_came_is_a_failure(medctx, tmp_path: Path, reported) -> None:
    study = write_study(tmp_path)
    confirm_defaults(study, tmp_path)
    run_search(study, tmp_path, fails=lambda spec: "nan")
    done = medctx("run", tmp_path / "sought.yaml", "--results", tmp_path)
    assert done.code == 1 and "search of medcontext: 7 suggestions (7 failed)" in done.out
    assert [found.best() for found in reported[0]] == [[]]


def test_a_part_of_a_search_cannot_be_run(medctx, tmp_path: Path) -> None:
    write_study(tmp_path)
    done = medctx("run", tmp_path / "sought.yaml", "--results", tmp_path, "--only", "seed=0")
    assert done.code == 2 and "--only: found seed=0; expected none with a study that searches" in done.err


def test_a_trial_of_a_suggestion_is_found_by_its_id(medctx, tmp_path: Path) -> None:
    study = write_study(tmp_path)
    works = run_search(study, tmp_path)
    id = works[0].cells[0].spec.id
    done = medctx("trial", tmp_path / "sought.yaml", id[:10], "--results", tmp_path)
    assert done.code == 0 and f"complete: {tmp_path.resolve() / 'trials' / id}" in done.out
