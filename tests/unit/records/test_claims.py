"""Claims: one owner of a trial, and who may take over from whom."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from claimed_trials import complete, described, rewrite_claim

from harness.errors import ClaimLost
from harness.records.claims import Claim
from harness.records.processes import Process
from harness.records.store import Store
from harness.spec import TrialSpec


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
