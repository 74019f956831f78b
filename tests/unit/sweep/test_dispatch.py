"""The rule of each fault, as it is applied to what comes back from a worker."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import Interrupted, TrialFailure, UserError
from harness.records.faults import RULES, cause_of
from harness.records.processes import Process
from harness.records.schema import Cause
from harness.records.store import Store
from harness.study.expand import load_study
from harness.sweep.agenda import Agenda, plain_work
from harness.sweep.dispatch import Dispatcher
from harness.sweep.packing import Need, arm_key, write_needs

CELLS = load_study("quickstart").cells[:2]
ID = CELLS[0].spec.id


class Said(list[str]):
    __call__ = list.append


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def dispatcher(store: Store, **options: Any) -> Dispatcher:
    options = {"workers": None, "gpus": False, **options}
    return Dispatcher(Agenda(plain_work(CELLS, store), store), store, **options)


def because(kind: str) -> Cause:
    return Cause(kind=kind, message=kind, traceback="where")


def test_a_trial_whose_worker_died_comes_back_and_fails_at_the_third_time(store: Store) -> None:
    out = dispatcher(store)
    first = out.next("a").spec
    for name, successor in zip("abc", "bcd", strict=True):
        out.lost(name, "killed")
        record = store.record(ID)
        assert (record is None) or name == "c"
        assert (out.next(successor).spec == first) == (name != "c")
    record = store.record(ID)
    assert (
        record and record.cause and record.cause.kind == "worker_lost" and "3 times" in record.cause.message
    )


def test_a_worker_that_put_its_trial_down_before_it_died_was_not_lost(store: Store) -> None:
    out = dispatcher(store)
    first = out.next("0").spec
    for number in range(5):
        attempt = store.claim(ID, Process.this())
        assert attempt
        attempt.release(Cause(kind="preempted", message="asked to stop"))
        out.lost(str(number), "gone")
        assert out.next(str(number + 1)).spec == first
    for number in (5, 6, 7):  # now it dies before it takes the trial: that must end
        out.lost(str(number), "gone")
        out.next(str(number + 1))
    assert store.status(ID) == "failed"


@pytest.mark.parametrize("kind", ["error", "io", "input"])
def test_an_error_outside_of_a_trial_is_recorded_with_its_traceback_and_not_repeated(
    store: Store, kind: str
) -> None:
    out = dispatcher(store)
    first = out.next("a").spec
    out.returned("a", because(kind))
    assert out.next("b").spec != first
    record = store.record(ID)
    assert record and record.cause == Cause(kind=kind, message=kind, traceback="where")


def test_out_of_gpu_memory_doubles_the_share_up_to_a_whole_one(store: Store) -> None:
    write_needs(store.results, {arm_key(CELLS[0].spec): Need("GPU", 1, 1.0, share=0.25)})
    said = Said()
    out = dispatcher(store, gpus=True, say=said)
    seen = []
    for number in range(3):
        job = out.next(str(number))
        seen.append((job.spec, job.share))
        out.returned(str(number), because("out_of_gpu_memory"))
    assert seen == [(seen[0][0], share) for share in (0.25, 0.5, 1.0)] and len(said) == 2
    assert out.next("3").spec != seen[0][0]
    record = store.record(ID)
    assert record and record.cause and record.cause.kind == "out_of_gpu_memory"


def test_nothing_is_handed_out_while_the_disk_is_full(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.sweep.disk._LOOK", 0.0)
    monkeypatch.setattr("harness.sweep.disk._SPARE", 2**60)  # more than any disk has
    said = Said()
    out = dispatcher(store, say=said)
    first = out.next("a").spec
    out.returned("a", because("disk_full"))
    assert out.next("b") is None and out.next("b") is None
    assert len(said) == 1 and "disk_full" in said[0]
    monkeypatch.setattr("harness.sweep.disk._SPARE", 1)
    assert out.next("b").spec == first
    assert store.status(ID) == "pending" and "goes on" in said[1]


def test_a_failure_that_finds_no_room_is_published_when_there_is_some(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sweep.disk._LOOK", 0.0)
    out = dispatcher(store)
    out.next("a")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("harness.sweep.dispatch.publish_failure", full)
        out.returned("a", because("error"))
        assert out.next("b") is None and store.status(ID) == "pending"
    assert out.next("b") is not None and store.status(ID) == "failed"


def test_workers_bound_the_trials_at_a_time_and_a_stop_ends_all(store: Store) -> None:
    out = dispatcher(store, workers=1)
    assert out.next("a") and out.next("b") is None
    out.returned("a", because("preempted"))
    out.stopping = True
    assert out.next("b") is None and out.finished
    assert store.status(ID) == "pending"


def _raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_gpu_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out_of_gpu_memory"),
        (MemoryError(), "out_of_host_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out_of_host_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (_raised_from(RuntimeError("unexpected pos"), OSError(errno.EDQUOT, "quota")), "disk_full"),
        (OSError(errno.EIO, "broken"), "io"),
        (TrialFailure("nan", "the loss is nan"), "nan"),
        (UserError("file", "nothing", "something", "Add it."), "input"),
        (Interrupted("preempted", "asked to stop"), "preempted"),
        (RuntimeError("out of ideas"), "error"),
    ],
)
def test_each_exception_has_a_kind_and_each_kind_a_rule(error: Exception, kind: str) -> None:
    assert cause_of(error).kind == kind and kind in RULES


def test_a_trial_gets_as_many_loaders_as_it_needs_and_its_share_of_the_cores_allows(store: Store) -> None:
    def loaders(**options: Any) -> int:
        job = dispatcher(store, **options).next("a")
        assert job
        return job.loaders

    on_gpu = {"gpus": True, "cores_per_gpu": 16.0}
    assert loaders() == 0 and loaders(loaders=3) == 3  # on the CPU none, but where they are asked for
    assert loaders(**on_gpu) == 8 and loaders(**on_gpu, loaders=0) == 0 and loaders(**on_gpu, loaders=5) == 5
    key = arm_key(CELLS[0].spec)
    write_needs(store.results, {key: Need("a GPU", 1, 0.1, share=0.25, seconds_per_batch=1.05)})
    assert loaders(**on_gpu) == 3  # a quarter of 16 cores, less one for itself; 11 are needed
    write_needs(store.results, {key: Need("a GPU", 1, 0.1, seconds_per_batch=1.05)})
    assert loaders(**on_gpu) == 11
