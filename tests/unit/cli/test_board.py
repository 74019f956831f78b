"""What a running study shows, on a terminal and elsewhere."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.board import Board
from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord, append_history
from harness.records.store import Store
from harness.study.expand import load_study
from harness.sweep.agenda import Work
from harness.sweep.gpus import Gpus, count_gpus
from harness.sweep.watch import Watch

CELLS = load_study("quickstart").cells
TOOL = """#!/bin/sh
case "$1" in *index*) echo 0; echo 1;; *) echo "37, x"; echo "100, x";; esac
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def publish(store: Store, number: int, cause: Cause | None = None) -> None:
    spec = CELLS[number].spec
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    status, untested = "failed" if cause else "complete", spec.model_copy(update={"tested": False})
    attempt.publish(TrialRecord(id=spec.id, status=status, kind="train", spec=untested, cause=cause))


def board(store: Store, terminal: bool) -> tuple[Watch, Board, io.StringIO]:
    text = io.StringIO()
    shown = Board(Console(file=text, force_terminal=terminal, width=200, color_system=None))
    return Watch(store, shown), shown, text


def test_elsewhere_there_is_one_line_for_each_finished_trial(store: Store) -> None:
    watch, _, text = board(store, terminal=False)
    publish(store, 0)
    list(watch.following([Work(CELLS[:2]), Work(CELLS[:4])]))  # trials that join later, one of them twice
    with watch.running():
        publish(store, 2, Cause(kind="error", message="a bug", traceback="Traceback\nline"))
    lines = text.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["complete", "failed", "Traceback", "line"]
    assert "a bug" in lines[1]


def test_where_little_happens_it_speaks_every_five_minutes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.board._QUIET", 0.0)
    watch, _, text = board(store, terminal=False)
    watch.follow(CELLS[:2])
    attempt = store.claim(CELLS[0].spec.id, Process.this())
    assert attempt
    append_history(attempt.folder, [{"step": 7, "losses": {}}])
    watch.look()
    assert "0 of 2 done, 1 running, 0 failed" in text.getvalue() and "step 7 of 200" in text.getvalue()


def test_a_terminal_shows_counts_and_the_current_dice(store: Store) -> None:
    watch, shown, text = board(store, terminal=True)
    watch.follow(CELLS[:3])
    attempt = store.claim(CELLS[0].spec.id, Process.this())
    assert attempt
    append_history(attempt.folder, [{"step": 50, "validation": {"left": 0.5}, "mean": 0.5}])
    with shown.shown(), watch.running():
        publish(store, 1)
        watch.look()
        assert str(shown.summary()).startswith("1 of 3 done, 1 running, 0 failed")
        lines = [{"step": step, "losses": {"total": 1.0}} for step in range(50, 1000)]
        append_history(attempt.folder, lines)  # the validation is beyond the end that is read
        watch.look()
        assert "step 999 of 200, Dice 0.500" in str(shown.summary())
    assert "complete" in text.getvalue()


def test_the_use_of_gpus_is_what_the_drivers_tool_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert Gpus().use() == ["GPU 37 % 100 %"] and count_gpus() == 2
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert Gpus().use() == [] and count_gpus() == 0


def test_what_happens_to_a_running_trial_is_news(store: Store) -> None:
    watch, _, text = board(store, terminal=False)
    watch.follow(CELLS[:1])
    attempt = store.claim(CELLS[0].spec.id, Process.this())
    assert attempt
    watch.look()
    attempt.note("process 7 on node3 takes over from attempt-1: process 5 on node2 gave no sign for 601 s")
    watch.look()
    watch.look()
    assert text.getvalue().count("process 7 on node3 takes over") == 1


def test_without_a_terminal_there_is_a_line_at_least_every_minute(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, lines = [0.0], []
    monkeypatch.setattr("harness.cli.board.time.monotonic", lambda: clock[0])
    watch, _, text = board(store, terminal=False)
    watch.enter("reading and preprocessing data")
    watch.follow(CELLS[:2])
    for second in range(1, 400):
        clock[0] = float(second)
        before = text.getvalue()
        watch.look()  # as it is done once a second
        if text.getvalue() != before:
            lines.append(second)
    assert text.getvalue().startswith("reading and preprocessing data\n")
    gaps = [later - earlier for earlier, later in zip([0, *lines], lines, strict=False)]
    assert len(lines) > 5 and max(gaps) <= 60


def test_what_cannot_be_printed_ends_nothing(store: Store) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")  # a terminal that is gone

    Watch(store, Board(Console(file=Closed(), width=80))).say("a sentence")


def test_the_time_left_is_known_from_the_first_steps_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("harness.sweep.watch.time.monotonic", lambda: clock[0])
    watch, shown, _ = board(store, terminal=True)
    watch.enter("starting Ray")
    list(watch.following([Work(CELLS[:2])]))
    watch.look()
    assert str(shown.summary()) == "starting Ray"  # until a trial runs, not until one is handed out
    attempt = store.claim(CELLS[0].spec.id, Process.this())
    assert attempt
    append_history(attempt.folder, [{"step": 50, "losses": {}}])  # it goes on from there
    watch.look()
    assert "0 of 2 done, 1 running, 0 failed, time left unknown" in str(shown.summary())
    append_history(attempt.folder, [{"step": 60, "losses": {}}])
    clock[0] += 5
    watch.look()
    assert "about 3 min left" in str(shown.summary())  # 10 steps in 5 s; 140 and 200 steps are left: 170 s
    publish(store, 1)
    append_history(attempt.folder, [{"step": 200, "losses": {}}])
    clock[0] += 5
    watch.look()
    assert "1 of 2 done, 1 running, 0 failed, the last are being tested" in str(shown.summary())
