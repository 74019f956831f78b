"""Claims and records: one owner, nothing torn, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.errors import ClaimLost, UserError
from harness.record import Cause, TrialRecord, append_history, read_history
from harness.spec import TrialSpec
from harness.store import Process, Store


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
    import psutil

    return Process(Process.this().host, process.pid, psutil.Process(process.pid).create_time())


def complete(spec: TrialSpec) -> TrialRecord:
    return TrialRecord(id=spec.id, status="complete", kind="train", spec=spec)


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
    reborn = asdict(Process.this()) | {"started": Process.this().started - 1000}
    rewrite_claim(store, spec.id, worker=reborn)
    assert store.status(spec.id) == "pending"


def test_a_claim_of_another_host_lasts_as_long_as_it_is_touched(store: Store, spec: TrialSpec) -> None:
    assert store.claim(spec.id, Process.this())
    far = {"host": "elsewhere", "pid": 1, "started": 0.0}
    path = rewrite_claim(store, spec.id, worker=far, driver=far)
    assert store.status(spec.id) == "running"
    os.utime(path, (time.time() - 3600,) * 2)
    assert store.status(spec.id) == "pending"


def test_who_was_replaced_cannot_publish_and_the_successor_goes_on_from_the_newest_checkpoint(
    store: Store, spec: TrialSpec
) -> None:
    first = store.claim(spec.id, Process.this())
    assert first
    (first.folder / "checkpoint.pt").write_text("step 5")
    append_history(first.folder, [{"step": 4}])
    rewrite_claim(store, spec.id, driver=asdict(Process.this()) | {"started": 0.0})
    second = store.claim(spec.id, Process.this())
    assert second and second.number == 2
    assert (second.folder / "checkpoint.pt").read_text() == "step 5"
    assert list(read_history(second.folder)) == [{"step": 4}]
    with pytest.raises(ClaimLost):
        first.publish(complete(spec))
    assert store.status(spec.id) == "running"
    second.publish(complete(spec))
    assert store.status(spec.id) == "complete"


def test_a_released_claim_can_be_taken_at_once(store: Store, spec: TrialSpec) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    (attempt.folder / "checkpoint.pt").touch()
    attempt.release()
    again = store.claim(spec.id, Process.this())
    assert again and (again.folder / "checkpoint.pt").is_file()


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


def test_a_torn_last_line_of_the_history_is_left_out(tmp_path: Path) -> None:
    append_history(tmp_path, [{"step": 0}, {"step": 1}])
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 2, "los')
    assert list(read_history(tmp_path)) == [{"step": 0}, {"step": 1}]


def test_a_results_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/results.*--results"):
        Store(tmp_path / "file" / "results")
