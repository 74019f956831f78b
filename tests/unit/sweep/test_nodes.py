"""When a node is kept off, and when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.cells import Cell
from harness.study.expand import load_study
from harness.sweep.agenda import Agenda, plain_work
from harness.sweep.dispatch import Dispatcher
from harness.sweep.nodes import Nodes
from harness.sweep.packing import arm_key

CELLS = load_study("quickstart").cells
ARMS: dict[str, list[Cell]] = {}
for cell in CELLS:
    ARMS.setdefault(str(cell.factors["method"]), []).append(cell)
SUPERVISED, MEDCONTEXT = ([cell.spec for cell in ARMS[name]] for name in ("supervised", "medcontext"))


def test_dead_workers_in_a_row_keep_a_node_off_but_never_the_last_one() -> None:
    nodes = Nodes(lambda: ["a", "b"])
    for spec in SUPERVISED[:2]:
        nodes.failed("a", spec, "worker_lost")
    assert nodes.judge() == {}
    nodes.failed("a", SUPERVISED[0], "worker_lost")
    assert nodes.judge() == {"a": SUPERVISED[:2]} and nodes.kept_off == {"a"}
    assert nodes.judge() == {}  # said once
    for _ in range(5):
        nodes.failed("b", SUPERVISED[0], "worker_lost")
    assert nodes.judge() == {} and nodes.kept_off == {"a"}


def test_a_success_between_them_ends_a_row() -> None:
    nodes = Nodes(lambda: ["a", "b"])
    for outcome in ("lost", "lost", "done", "lost", "lost", "done"):
        if outcome == "done":
            nodes.completed("a", SUPERVISED[0])
        else:
            nodes.failed("a", SUPERVISED[0], "worker_lost")
    assert nodes.judge() == {}


@pytest.mark.parametrize("kind", ["error", "input"])
def test_an_arm_that_fails_everywhere_is_no_nodes_fault(kind: str) -> None:
    nodes = Nodes(lambda: ["a", "b"])
    for node in ("a", "b"):
        for spec in SUPERVISED * 2:
            nodes.failed(node, spec, kind)
    nodes.completed("b", MEDCONTEXT[0])  # another arm says nothing of this one
    assert nodes.judge() == {}


def test_errors_count_as_soon_as_the_arm_has_completed_elsewhere() -> None:
    nodes = Nodes(lambda: ["a", "b"])
    for _ in range(3):
        nodes.failed("a", SUPERVISED[0], "input")
    assert nodes.judge() == {}
    nodes.completed("b", SUPERVISED[1])
    assert nodes.judge() == {"a": [SUPERVISED[0]]}


@pytest.mark.parametrize("kind", ["nan", "preempted", "paused", "disk_full", "pretraining"])
def test_what_no_other_node_would_do_better_does_not_count(kind: str) -> None:
    nodes = Nodes(lambda: ["a", "b"])
    nodes.completed("b", SUPERVISED[0])
    for _ in range(9):
        nodes.failed("a", SUPERVISED[0], kind)
        nodes.failed("", SUPERVISED[0], "worker_lost")  # nobody knows where
    assert nodes.judge() == {}


def publish(store: Store, spec: TrialSpec, **outcome: Any) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    untested = spec.model_copy(update={"tested": False})  # its record is whole without scores
    attempt.publish(TrialRecord(id=spec.id, kind=spec.kind, spec=untested, **outcome))


def test_what_failed_there_runs_again_elsewhere(tmp_path: Path) -> None:
    said: list[str] = []
    store = Store(tmp_path)
    work = plain_work(CELLS, store)
    out = Dispatcher(
        Agenda(work, store), store, workers=None, gpus=False, say=said.append, nodes=lambda: ["a", "b"]
    )
    first = out.next("0")
    assert first is not None and not first.avoided
    for number in range(3):  # as often as a trial may be lost
        out.lost(str(number), "killed", "a")
        job = out.next(str(number + 1))
        assert job is not None and job.spec == first.spec and job.avoided == ({"a"} if number == 2 else set())
    assert said == [
        f"node a is kept off for the rest of this run: trials failed there again and again; elsewhere: {first.spec.id}"
    ]
    publish(store, first.spec, status="complete")
    out.returned("3", node="b")
    assert store.status(first.spec.id) == "complete"


def test_failures_that_are_published_come_back_once_the_node_is_to_blame(tmp_path: Path) -> None:
    store, said = Store(tmp_path), list[str]()
    cells = load_study("hippocampus_few_shot").cells
    arm = [cell for cell in cells if arm_key(cell.spec) == arm_key(cells[0].spec)][:5]
    out = Dispatcher(
        Agenda(plain_work(arm, store), store), store, workers=None, gpus=False, say=said.append,
        nodes=lambda: ["a", "b"],
    )  # fmt: skip
    jobs = [out.next(str(number)) for number in range(5)]
    specs = [job.spec for job in jobs if job]
    cause = Cause(kind="input", message="no such folder")
    for number in range(3):
        publish(store, specs[number], status="failed", cause=cause)
        out.returned(str(number), node="a")
    assert [store.status(spec.id) for spec in specs[:3]] == ["failed"] * 3 and not said
    publish(store, specs[3], status="complete")
    out.returned("3", node="b")
    assert len(said) == 1
    again = [out.next(f"again {number}") for number in range(3)]
    assert [job.spec for job in again if job] == specs[:3]
    assert all(job.avoided == {"a"} for job in again if job)
