"""Records: nothing torn, nothing lost."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Literal
from unittest.mock import Mock

import pytest
from claimed_trials import complete, rewrite_claim

from harness.errors import ClaimLost, UserError
from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord, append_history, read_history, write_cases, write_record
from harness.records.store import Store
from harness.spec import TrialSpec


def test_who_was_replaced_cannot_publish_and_the_successor_goes_on_from_the_newest_checkpoint(
    store: Store, spec: TrialSpec
) -> None:
    first = store.claim(spec.id, Process.this())
    assert first
    (first.folder / "resume.pt").write_text("step 5")
    append_history(first.folder, [{"step": 4}])
    rewrite_claim(store, spec.id, driver=asdict(Process.this()) | {"start": 0})
    second = store.claim(spec.id, Process.this())
    assert second and second.number == 2
    assert (second.folder / "resume.pt").read_text() == "step 5"
    assert list(read_history(second.folder)) == [{"step": 4}]
    for act in (first.check_owned, first.release, lambda: first.publish(complete(spec))):
        with pytest.raises(ClaimLost):
            act()
    assert store.status(spec.id) == "running" and store.record(spec.id) is None
    assert not list(store.trials.iterdir())
    second.publish(complete(spec))
    assert store.status(spec.id) == "complete"


def test_of_several_earlier_attempts_the_newest_checkpoint_is_taken(store: Store, spec: TrialSpec) -> None:
    folders = []
    for _ in range(3):
        attempt = store.claim(spec.id, Process.this())
        assert attempt
        folders.append(attempt.folder)
        attempt.release()
    for folder, age in zip(folders, (300, 100, 200), strict=True):
        for name in ("resume.pt", "selected.pt"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_text(f"{age} s old")
            os.utime(folder / name, (time.time() - age,) * 2)
    last = store.claim(spec.id, Process.this())
    assert last and last.number == 4
    assert {(last.folder / name).read_text() for name in ("resume.pt", "selected.pt")} == {"100 s old"}


def test_a_process_that_dies_just_before_the_rename_has_published_nothing(
    store: Store, spec: TrialSpec
) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    write_record(attempt.folder, complete(spec))
    rewrite_claim(store, spec.id, worker=asdict(Process.this()) | {"start": 0})
    assert store.status(spec.id) == "pending" and store.record(spec.id) is None
    again = store.claim(spec.id, Process.this())
    assert again and not (again.folder / "trial.json").exists()


@pytest.mark.parametrize("status", ["complete", "failed"])
def test_what_a_process_leaves_that_dies_just_after_the_rename_is_removed(
    store: Store, spec: TrialSpec, status: Literal["complete", "failed"], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.claim(spec.id, Process.this())
    assert first
    (first.folder / "resume.pt").touch()
    first.release()
    second = store.claim(spec.id, Process.this())
    assert second
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("harness.records.store._remove", Mock(side_effect=KeyboardInterrupt))
        second.publish(complete(spec).model_copy(update={"status": status}))
    running = store.results / "running"
    assert (running / spec.id / "attempt-1" / "resume.pt").is_file()
    (running / ".ended-killed" / "attempt-1").mkdir(parents=True)
    store.tidy()
    assert {path.name[:5] for path in running.iterdir()} == {".lock"}
    assert store.status(spec.id) == status


def test_tidying_leaves_alone_what_was_put_down_and_new_attempts_at_what_failed(
    store: Store, spec: TrialSpec
) -> None:
    paused = store.claim(spec.id, Process.this())
    assert paused
    paused.pause(5)
    store.tidy()
    assert store.paused_at(spec.id) == 5
    failed = store.claim(spec.id, Process.this())
    assert failed
    failed.publish(complete(spec).model_copy(update={"status": "failed"}))
    again = store.claim(spec.id, Process.this())
    assert again
    store.tidy()
    again.pause(7)
    store.tidy()
    assert store.paused_at(spec.id) == 7
    last = store.claim(spec.id, Process.this())
    assert last
    rewrite_claim(store, spec.id, worker=asdict(Process.this()) | {"start": 0})
    store.tidy()
    assert last.folder.is_dir()


def test_an_attempt_has_a_number_of_its_own_where_an_earlier_one_was_removed(
    store: Store, spec: TrialSpec
) -> None:
    for _ in range(2):
        attempt = store.claim(spec.id, Process.this())
        assert attempt
        attempt.release()
    (store.results / "running" / spec.id / "attempt-1").rmdir()
    third = store.claim(spec.id, Process.this())
    assert third and third.number == 3


def test_a_failure_is_replaced_by_a_later_success(store: Store, spec: TrialSpec) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    cause = Cause(kind="error", message="broken")
    attempt.publish(complete(spec).model_copy(update={"status": "failed", "cause": cause}))
    assert store.status(spec.id) == "failed"
    again = store.claim(spec.id, Process.this())
    assert again
    again.publish(complete(spec))
    assert store.status(spec.id) == "complete"


@pytest.mark.parametrize(
    ("kind", "goes_on"), [("out_of_gpu_memory", True), ("worker_lost", True), ("error", False)]
)
def test_a_reopened_failure_goes_on_from_its_checkpoint_but_after_a_bug(
    store: Store, spec: TrialSpec, kind: str, goes_on: bool
) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    (attempt.folder / "resume.pt").write_text("step 5")
    cause = Cause(kind=kind, message="broken")
    attempt.publish(complete(spec).model_copy(update={"status": "failed", "cause": cause}))
    store.reopen([spec.id])
    assert store.status(spec.id) == "pending"
    again = store.claim(spec.id, Process.this())
    assert again and (again.folder / "resume.pt").is_file() == goes_on
    store.reopen([spec.id])  # what is not failed stays as it is
    assert store.status(spec.id) == "running"


def test_a_complete_record_keeps_the_selected_weights_alone(store: Store, spec: TrialSpec) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    (attempt.folder / "resume.pt").write_text("all")
    (attempt.folder / "selected.pt").write_text("selected")
    attempt.publish(complete(spec))
    names = sorted(path.name for path in (store.trials / spec.id).iterdir())
    assert names == ["SHA256SUMS", "checkpoint.pt", "trial.json"]
    assert (store.trials / spec.id / "checkpoint.pt").read_text() == "selected"


def test_a_complete_record_may_leave_its_weights_out(store: Store, spec: TrialSpec) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    (attempt.folder / "selected.pt").write_text("selected")
    attempt.publish(complete(spec), weights=False)
    assert sorted(path.name for path in (store.trials / spec.id).iterdir()) == ["SHA256SUMS", "trial.json"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("trial.json", None, "trial.json is missing"),
        ("trial.json", b"", "trial.json cannot be read"),
        ("trial.json", b'{"status": "comp', "trial.json cannot be read"),
        ("trial.json", b"\0" * 300, "trial.json cannot be read"),
        ("cases.parquet", None, "cases.parquet cannot be read (No such file or directory)"),
        ("cases.parquet", b"", "cases.parquet is cut"),
        ("cases.parquet", b"PAR1 and half of the rest", "cases.parquet is cut"),
    ],
)
def test_a_damaged_record_is_told_and_set_aside(
    store: Store, spec: TrialSpec, name: str, content: bytes | None, said: str
) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    row = {"case": "a", "region": "lobe", "role": "student", "metric": "dice", "value": 0.5, "unit": ""}
    write_cases(attempt.folder, [{**row, "empty": "none"}])
    attempt.publish(TrialRecord(id=spec.id, status="complete", kind="train", spec=spec))
    assert store.status(spec.id) == "complete" and not store.damage(spec.id)
    path = store.trials / spec.id / name
    path.unlink() if content is None else path.write_bytes(content)
    assert store.status(spec.id) == "damaged" and store.record(spec.id) is None
    assert store.damage(spec.id).startswith(said)
    (sentence,) = store.set_aside_damaged([spec.id])
    assert said in sentence and store.status(spec.id) == "pending"
    assert (store.trials / f".damaged-{spec.id}-1").is_dir()
    again = store.claim(spec.id, Process.this())
    assert again
    again.publish(TrialRecord(id=spec.id, status="failed", kind="train", spec=spec))
    assert store.status(spec.id) == "failed"


def test_a_torn_last_line_of_the_history_is_left_out(tmp_path: Path) -> None:
    append_history(tmp_path, [{"step": 0}, {"step": 1}])
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 2, "los')
    assert list(read_history(tmp_path)) == [{"step": 0}, {"step": 1}]


def test_a_results_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/results.*--results"):
        Store(tmp_path / "file" / "results")
