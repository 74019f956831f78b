"""A search that is killed goes on with the suggestions of one that was not, down to the last bit of their values."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from harness.data.trial_data import TrialData
from harness.records.store import Store
from harness.search.findings import JOURNAL, Suggestion
from harness.search.optuna_journal import read_findings
from harness.study.expand import load_study
from harness.study.study import Study
from harness.sweep.agenda import Agenda, Work
from harness.sweep.suggestions import search_work
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

pytestmark = pytest.mark.whole_machine

STUDY = """
question: Does a killed search go on?
base:
  dataset: few_patients:FewPatients
  architecture: unet
  shots: 2
  recipe: {overlap: 0.0, steps: 4, validate_every: 2, batch: 2}
search:
  arms:
    supervised:
      recipe.learning_rate: {low: 0.0003, high: 0.03, log: true}
      recipe.weight_decay: {low: 0.000001, high: 0.01, log: true}
  suggestions: 4
  batch: 2
  startup: 2
  seeds: [0]
  confirm: {seeds: [1]}
keep: none
"""


def medctx(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], cwd=folder, env=dict(os.environ), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def search_undisturbed(study: Study, results: Path) -> list[Suggestion]:
    """Run the suggestions in this process, without Ray, and return them."""
    store = Store(results)

    def work() -> Iterator[Work]:
        for portion in search_work(study, store):
            if portion.cells[0].spec.tested:
                return
            yield portion

    agenda = Agenda(work(), store)
    while task := agenda.next():
        run_trial(task.spec, RunSettings(results, pause_at=task.pause_at))
        agenda.returned(task.spec.id)
    return list(read_findings(study, results / study.name)[0].suggestions)


def kill_in_second_batch(process: subprocess.Popen[str], study: Study, store: Store) -> None:
    """Kill the driver while a trial of the second batch runs."""
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        (found,) = read_findings(study, store.results / study.name)
        if len(found.suggestions) == 4:
            second = [cell.spec.id for trials in found.suggested()[2:] for cell in trials.cells]
            if any(store.status(id) == "running" for id in second):
                process.send_signal(signal.SIGKILL)
                process.wait()
                return
        time.sleep(0.05)
    raise AssertionError("the second batch did not begin")


@pytest.mark.slow
@pytest.mark.usefixtures("few_patients")
def test_a_search_whose_driver_is_killed_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sought.yaml").write_text(STUDY)
    study = load_study(str(tmp_path / "sought.yaml"))
    with monkeypatch.context() as patch:
        patch.delattr(TrialData, "freeze")  # without which no test label can be read
        expected = search_undisturbed(study, tmp_path / "undisturbed")
    assert [one.state for one in expected] == ["complete"] * 4

    store = Store(tmp_path / "results")
    run = ("run", "sought.yaml", "--workers", "1")
    kill_in_second_batch(medctx(tmp_path, *run), study, store)
    (found,) = read_findings(study, store.results / study.name)
    assert [one.state for one in found.suggestions] == ["complete"] * 2 + ["running"] * 2
    process = medctx(tmp_path, *run)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert "search of supervised: 4 suggestions (4 complete)" in output
    (found,) = read_findings(study, store.results / study.name)
    assert list(found.suggestions) == expected

    status = json.loads(medctx(tmp_path, "status", "sought.yaml", "--json").communicate(timeout=100)[0])
    assert status == {
        "planned": 6,
        "complete": 6,
        "running": 0,
        "failed": 0,
        "pending": 0,
        "skipped": 0,
        "pruned": 0,
    }
    records = [json.loads(path.read_text()) for path in store.trials.glob("*/trial.json")]
    for record in records:
        tested = record["spec"]["tested"]
        assert (store.trials / record["id"] / "cases.parquet").is_file() == tested
        assert record["spec"]["seed"] == (1 if tested else 0)
    assert sorted(record["spec"]["tested"] for record in records) == [False] * 4 + [True] * 2
    folder = store.results / "sought"
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
    )
    (name,) = optuna.get_all_study_names(storage)
    theirs = optuna.load_study(study_name=name, storage=storage)
    assert theirs.best_value == max(one.objective for one in expected)
    figures = {path.stem for path in (folder / "figures").glob("search_*.png")}
    assert {"search_history", "search_slices_supervised", "search_contours_supervised"} <= figures
    assert (folder / "tables" / "tuned.tex").is_file() and "Tuned parameters" in (
        folder / "report.html"
    ).read_text()
