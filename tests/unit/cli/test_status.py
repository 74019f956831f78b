"""What ``medctx status`` says of trials that failed, run, or were put down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.records.processes import Process
from harness.records.schema import Cause, Environment, TrialRecord, append_history
from harness.records.store import Store
from harness.study.expand import load_study

TRACEBACK = "Traceback\n  File one\n  File two\nRuntimeError: a bug"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_each_trial_in_between_has_class_node_attempts_log_and_advice(store: Store, medctx: Callable) -> None:
    failed, running, stopped, pruned, *_ = (cell.spec for cell in load_study("quickstart").cells)
    host = Process.this().host
    attempts = {spec.id: store.claim(spec.id, Process.this()) for spec in (failed, running, stopped, pruned)}
    assert all(attempts.values())
    attempts[failed.id].publish(
        TrialRecord(
            id=failed.id, status="failed", kind="train", spec=failed, attempts=2,
            cause=Cause(kind="error", message="RuntimeError: a bug", traceback=TRACEBACK),
            environment=Environment(versions={}, commit="", device="cpu", host="node7"),
        )
    )  # fmt: skip
    for spec in (running, stopped):
        lines = [{"step": step, "losses": {"total": step / 3}, "learning_rate": 0.1} for step in range(2000)]
        append_history(attempts[spec.id].folder, lines)
    attempts[stopped.id].release(Cause(kind="preempted", message="asked to stop at step 2000"))
    attempts[pruned.id].publish(TrialRecord(id=pruned.id, status="pruned", kind="train", spec=pruned))

    shown = medctx("status", "quickstart", "--results", store.results)
    assert shown.code == 0
    text = " ".join(shown.out.split())
    assert f"failed: {failed.id}" in text and "(error, on node7, attempt 2)" in text
    assert "| File two | RuntimeError: a bug → Mend what the traceback names" in text
    assert f"running: {running.id}" in text and f"(on {host}, attempt 1)" in text
    assert f"paused: {stopped.id}" in text and f"(preempted, on {host}, attempt 1)" in text
    assert text.count("| step 1998: losses total 666 | step 1999: losses total 666.3") == 2
    assert "asked to stop at step 2000" in text and "→ Give the same command again" in text

    counts = json.loads(medctx("status", "quickstart", "--results", store.results, "--json").out)
    assert counts == {
        "planned": 8, "complete": 0, "running": 1, "failed": 1, "pending": 5, "skipped": 0, "pruned": 1
    }  # fmt: skip


@pytest.mark.parametrize("command", ["plan", "status"])
def test_the_results_folder_is_named_and_whether_it_is_empty(
    command: str, store: Store, tmp_path: Path, medctx: Callable
) -> None:
    asked = (command, "quickstart", "--results")
    assert f"results: {tmp_path / 'new'}, which is not there yet" in medctx(*asked, tmp_path / "new").out
    assert f"results: {store.results}, which has no trial yet" in medctx(*asked, store.results).out
    store.claim(load_study("quickstart").cells[0].spec.id, Process.this())
    assert f"results: {store.results}\n" in medctx(*asked, store.results).out
