"""Claims and records: one owner, nothing torn, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal
from unittest.mock import Mock

import pytest

from harness.errors import ClaimLost, UserError
from harness.records.claims import Claim
from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord, append_history, read_history, write_cases, write_record
from harness.records.store import Store
from harness.spec import TrialSpec


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def other():
    """A process that lives until the test ends or kills it."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def described(process: subprocess.Popen) -> Process:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return replace(Process.this(), pid=process.pid, start=int(fields[19]))


def complete(spec: TrialSpec) -> TrialRecord:
    """Return a record that needs no scores."""
    untested = spec.model_copy(update={"tested": False})
    return TrialRecord(id=spec.id, status="complete", kind="train", spec=untested)


def rewrite_claim(store: Store, id: str, **changes: object) -> Path:
    path = store.results / "running" / id / "claim.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_a_trial_has_one_owner_and_states_follow_the_disk(store: Store, spec: TrialSpec) -> None:
    assert store.status(spec.id) == "pending"
    attempt = store.claim(spec.id, Process.this())
    assert attempt and store.status(spec.id) == "running"
    assert store.claim(spec.id, Process.this()) is None
    attempt.publish(complete(spec))
    assert store.status(spec.id) == "complete" and store.record(spec.id) == complete(spec)
    assert store.claim(spec.id, Process.this()) is None
    assert not (store.results / "running" / spec.id).exists()


def _claim(results: Path, id: str) -> bool:
    return Store(results).claim(id, Process.this()) is not None


def test_of_processes_that_claim_at_the_same_time_one_gets_each_trial(tmp_path: Path) -> None:
    ids = [f"trial{number:02d}" for number in range(20) for _ in range(3)]
    context = get_context("spawn")
    together = context.Barrier(3)
    with ProcessPoolExecutor(3, mp_context=context, initializer=together.wait, initargs=(60,)) as pool:
        won = list(pool.map(_claim, [tmp_path] * len(ids), ids))
    assert sorted(id for id, claimed in zip(ids, won, strict=True) if claimed) == sorted(set(ids))


@pytest.mark.parametrize("who", ["worker", "driver"])
def test_a_claim_dies_with_its_worker_or_its_driver(
    store: Store, spec: TrialSpec, other: subprocess.Popen, who: str
) -> None:
    first = store.claim(spec.id, Process.this())
    assert first
    rewrite_claim(store, spec.id, **{who: asdict(described(other))})
    assert store.claim(spec.id, Process.this()) is None
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert store.status(spec.id) == "pending"
    assert store.claim(spec.id, Process.this()) is not None


def test_a_process_with_the_same_number_is_not_the_same_process(store: Store, spec: TrialSpec) -> None:
    assert store.claim(spec.id, Process.this())
    reborn = asdict(Process.this()) | {"start": Process.this().start - 1000}
    rewrite_claim(store, spec.id, worker=reborn)
    assert store.status(spec.id) == "pending"


@pytest.mark.parametrize(
    "place",
    [{"namespace": "1"}, {"boot": "another"}, {"boot": ""}, {"boot": "another", "host": "node17"}],
    ids=["another pid namespace", "another kernel", "an earlier version", "another machine"],
)
def test_where_a_pid_proves_nothing_the_heartbeat_decides(
    store: Store, spec: TrialSpec, place: dict[str, str]
) -> None:
    """Two containers of one host name, for example: the pid of one is no process of the other."""
    assert store.claim(spec.id, Process.this())
    owner = asdict(replace(Process.this(), pid=2**22 - 1)) | place  # no process has this pid here
    path = rewrite_claim(store, spec.id, worker=owner, driver=owner)
    assert store.status(spec.id) == "running" and store.claim(spec.id, Process.this()) is None
    os.utime(path, (time.time() - 599,) * 2)
    assert store.status(spec.id) == "running"
    os.utime(path, (time.time() - 601,) * 2)
    assert store.status(spec.id) == "pending"


def test_a_clock_that_is_set_changes_nothing(
    store: Store, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.claim(spec.id, Process.this())
    for step in (-300, -5, 5, 300):
        with monkeypatch.context() as clock:
            now = time.time()
            clock.setattr(time, "time", lambda now=now, step=step: now + step)
            clock.setattr("psutil.boot_time", lambda step=step: step)
            assert store.status(spec.id) == "running" and store.claim(spec.id, Process.this()) is None


def test_a_process_that_cannot_be_seen_is_not_known_to_be_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = Process.this()
    monkeypatch.setattr("harness.records.processes._status", lambda pid: None)
    assert hidden.state() == "unknown"


def test_who_takes_over_and_who_loses_say_so(store: Store, spec: TrialSpec) -> None:
    first = store.claim(spec.id, Process.this())
    assert first and store.notes(spec.id) == []
    rewrite_claim(store, spec.id, worker=asdict(Process.this()) | {"start": 0})
    second = store.claim(spec.id, Process.this())
    assert second
    with pytest.raises(ClaimLost):
        first.check_owned()
    second.publish(complete(spec))
    record = store.record(spec.id)
    assert record
    me = f"process {os.getpid()} on {Process.this().host}"
    assert record.notes == [
        f"{me} takes over from attempt-1: {me} has died", f"{me} has lost attempt-1 and stops"
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["", "{", "\0" * 200, "{}", '{"worker": 3}', "[]"])
def test_a_damaged_claim_is_none(store: Store, spec: TrialSpec, content: str) -> None:
    assert store.claim(spec.id, Process.this())
    (store.results / "running" / spec.id / "claim.json").write_text(content)
    assert store.status(spec.id) == "pending"
    assert store.claim(spec.id, Process.this())


def test_a_claim_of_another_host_lasts_as_long_as_it_is_touched(store: Store, spec: TrialSpec) -> None:
    assert store.claim(spec.id, Process.this())
    far = {"host": "elsewhere", "pid": 1, "started": 0.0}
    path = rewrite_claim(store, spec.id, worker=far, driver=far)
    assert store.status(spec.id) == "running"
    os.utime(path, (time.time() - 3600,) * 2)
    assert store.status(spec.id) == "pending"


def test_a_claim_of_another_host_that_ends_as_it_is_looked_at_is_none(
    store: Store, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Process("elsewhere", 1)
    monkeypatch.setattr(Claim, "read", lambda home: Claim(far, far, "attempt-1"))
    assert store.status(spec.id) == "pending"


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


def test_a_heartbeat_touches_the_claim_and_notices_its_loss(
    store: Store, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.records.store.HEARTBEAT", -1.0)
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    path = store.results / "running" / spec.id / "claim.json"
    os.utime(path, (0, 0))
    attempt.heartbeat()
    assert time.time() - path.stat().st_mtime < 60
    rewrite_claim(store, spec.id, attempt="attempt-2")
    with pytest.raises(ClaimLost):
        attempt.heartbeat()


def test_a_released_claim_can_be_taken_at_once(store: Store, spec: TrialSpec) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    (attempt.folder / "resume.pt").touch()
    attempt.release()
    again = store.claim(spec.id, Process.this())
    assert again and (again.folder / "resume.pt").is_file()


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


def test_a_driver_gives_up_the_claims_of_its_own_workers_alone(store: Store, spec: TrialSpec) -> None:
    assert store.claim(spec.id, Process.this())
    store.drop_claim(spec.id, Process("elsewhere", 1))
    assert store.status(spec.id) == "running"
    store.drop_claim(spec.id, Process.this())
    assert store.status(spec.id) == "pending"


def test_a_living_owner_on_this_host_keeps_its_claim_however_long_it_is_silent(
    store: Store, spec: TrialSpec
) -> None:
    assert store.claim(spec.id, Process.this())
    os.utime(store.results / "running" / spec.id / "claim.json", (time.time() - 3600,) * 2)
    assert store.status(spec.id) == "running"


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
