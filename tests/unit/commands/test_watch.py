"""``medctx status --watch``: the report again as trials begin and end, and on its page what runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.commands import watch as module
from harness.commands.watch import running_now, watch
from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord, append_history
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.expand import load_study

ONE_ARM = """
question: Does it go on?
base: {dataset: phantom, architecture: unet, method: supervised, shots: 2, recipe: {steps: 4}}
grid: {seed: [0, 1]}
"""


def failed(spec: TrialSpec) -> TrialRecord:
    return TrialRecord(
        id=spec.id, status="failed", kind="train", spec=spec, cause=Cause(kind="error", message="stopped")
    )


def test_the_page_says_what_runs_and_is_written_until_none_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "watched.yaml").write_text(ONE_ARM)
    study = load_study(str(tmp_path / "watched.yaml"))
    store, page = Store(tmp_path / "results"), tmp_path / "results" / "watched" / "report.html"
    first, second = (cell.spec for cell in study.cells)
    pages, lines = [], []

    def go_on(seconds: float) -> None:
        """What another process does between two looks: a trial begins, then both end."""
        pages.append(page.read_text())
        if len(pages) == 1:
            attempt = store.claim(first.id, Process.this())
            assert attempt is not None
            append_history(attempt.folder, [{"step": 3, "losses": {"total": 0.5}, "mean": 0.75}])
            held.append(attempt)
        elif len(pages) == 2:
            held[0].publish(failed(first))
            attempt = store.claim(second.id, Process.this())
            assert attempt is not None
            attempt.publish(failed(second))
        assert len(pages) < 5

    held: list = []
    monkeypatch.setattr(module.time, "sleep", go_on)
    watch(study, results=store.results, say=lines.append)
    pages.append(page.read_text())
    told = [("<b>0 trials running" in text, 'http-equiv="refresh"' in text) for text in pages]
    assert told == [(True, True), (False, True), (False, False)]
    assert "unet · supervised · 2 shots · seed 0: step 3 of 4, validation Dice 0.750" in pages[1]
    assert "validation Dice" not in pages[2] and "2</b> failed" in pages[2]
    assert lines[0].startswith(f"report: {page}") and lines[-1].startswith(
        "2 planned, 0 complete, 0 running, 2 failed"
    )
    assert running_now(study, store.results) is None
    assert len(lines) == 4
