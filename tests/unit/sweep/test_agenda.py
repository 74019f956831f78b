"""Which trial is next, what waits, and when a work has ended: all from what lies on disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.errors import Interrupted
from harness.records.processes import Process
from harness.records.schema import Cause, Outcome, TrialRecord
from harness.records.store import Store
from harness.study.cells import Cell
from harness.study.expand import load_study
from harness.sweep.agenda import Agenda, Work, plain_work

FAR = {"host": "elsewhere", "pid": 1, "started": 0.0}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def cells() -> tuple[Cell, ...]:
    return load_study("quickstart").cells[:3]


@pytest.fixture(scope="module")
def pretrained() -> tuple[Cell, Cell]:
    """A pretraining and a trial that starts from it."""
    study = load_study("matrix")
    cell = next(cell for cell in study.cells if cell.spec.pretraining)
    (node,) = (node for node in study.nodes if node.spec.id == cell.spec.pretraining)
    return node, cell


def end(store: Store, cell: Cell, status: Outcome = "complete") -> None:
    attempt = store.claim(cell.spec.id, Process.this())
    assert attempt
    cause = Cause(kind="error", message="broken") if status == "failed" else None
    spec = cell.spec
    untested = spec.model_copy(update={"tested": False})  # a record that needs no scores
    attempt.publish(TrialRecord(id=spec.id, status=status, kind=spec.kind, spec=untested, cause=cause))


def handed(agenda: Agenda) -> str | None:
    task = agenda.next()
    return task.spec.id if task else None


def test_each_trial_is_handed_out_once_and_the_end_is_what_lies_on_disk(
    store: Store, cells: tuple[Cell, ...]
) -> None:
    end(store, cells[1])
    agenda = Agenda(plain_work(cells, store), store)
    assert [handed(agenda) for _ in range(3)] == [cells[0].spec.id, cells[2].spec.id, None]
    end(store, cells[0])
    agenda.returned(cells[0].spec.id)
    assert handed(agenda) is None and not agenda.finished
    end(store, cells[2], "failed")
    agenda.returned(cells[2].spec.id)
    assert handed(agenda) is None and agenda.finished


def test_what_comes_back_unended_goes_to_the_front(store: Store, cells: tuple[Cell, ...]) -> None:
    agenda = Agenda(plain_work(cells, store), store)
    first = handed(agenda)
    assert first
    agenda.retry(first)
    assert [handed(agenda), handed(agenda)] == [first, cells[1].spec.id]
    end(store, cells[0])  # a worker that was lost just after it had published
    agenda.retry(first)
    assert [handed(agenda), handed(agenda)] == [cells[2].spec.id, None]


def test_the_next_work_is_drawn_when_the_earlier_one_has_ended_and_finds_its_records(
    store: Store, cells: tuple[Cell, ...]
) -> None:
    seen = []

    def search() -> Iterator[Work]:
        yield Work(cells[:2])
        seen.append({store.status(cell.spec.id) for cell in cells[:2]})
        yield Work(cells)

    agenda = Agenda(search(), store)
    assert [handed(agenda) for _ in range(3)] == [*(cell.spec.id for cell in cells[:2]), None]
    for cell in cells[:2]:
        assert not seen
        end(store, cell)
        agenda.returned(cell.spec.id)
    assert handed(agenda) == cells[2].spec.id and seen == [{"complete"}]


def test_a_work_with_a_rung_ends_when_its_trials_have_paused_there(
    store: Store, cells: tuple[Cell, ...]
) -> None:
    one, two, three = cells
    for cell, step in ((one, 9), (two, 10)):
        attempt = store.claim(cell.spec.id, Process.this())
        assert attempt
        attempt.pause(step)
    end(store, three, "pruned")
    agenda = Agenda(iter([Work(cells, pause_at=10), Work((two,))]), store)
    task = agenda.next()
    assert task and (task.spec, task.pause_at) == (one.spec, 10)
    attempt = store.claim(one.spec.id, Process.this())
    assert attempt and agenda.next() is None
    attempt.pause(10)
    agenda.returned(one.spec.id)
    task = agenda.next()
    assert task and (task.spec, task.pause_at) == (two.spec, None)


def test_failed_and_pruned_trials_of_a_plain_study_are_run_again(
    store: Store, cells: tuple[Cell, ...]
) -> None:
    end(store, cells[0], "failed")
    end(store, cells[1], "pruned")
    agenda = Agenda(plain_work(cells[:2], store), store)
    assert [handed(agenda), handed(agenda)] == [cell.spec.id for cell in cells[:2]]


def test_a_trial_waits_for_its_pretraining_and_then_comes_first(
    store: Store, cells: tuple[Cell, ...], pretrained: tuple[Cell, Cell]
) -> None:
    node, cell = pretrained
    agenda = Agenda(iter([Work((node, cell, *cells[:2]))]), store)
    assert [handed(agenda), handed(agenda)] == [node.spec.id, cells[0].spec.id]
    end(store, node)
    agenda.returned(node.spec.id)
    assert [handed(agenda), handed(agenda)] == [cell.spec.id, cells[1].spec.id]


def test_a_trial_whose_pretraining_failed_is_published_as_failed(
    store: Store, pretrained: tuple[Cell, Cell]
) -> None:
    node, cell = pretrained
    agenda = Agenda(iter([Work(pretrained)]), store)
    assert [handed(agenda), handed(agenda)] == [node.spec.id, None]
    end(store, node, "failed")
    agenda.returned(node.spec.id)
    assert handed(agenda) is None and agenda.finished
    record = store.record(cell.spec.id)
    assert record and record.cause and record.cause.kind == "pretraining"


def test_what_another_driver_runs_is_waited_for_and_taken_over_when_it_dies(
    store: Store, cells: tuple[Cell, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sweep.agenda._POLL", 0.0)
    attempts = [store.claim(cell.spec.id, Process.this()) for cell in cells]
    agenda = Agenda(iter([Work(cells)]), store)
    assert handed(agenda) is None and not agenda.finished
    end_of_first = TrialRecord(
        id=cells[0].spec.id,
        status="complete",
        kind="train",
        spec=cells[0].spec.model_copy(update={"tested": False}),
    )
    assert attempts[0]
    attempts[0].publish(end_of_first)
    assert handed(agenda) is None and not agenda.finished
    claim = store.results / "running" / cells[1].spec.id / "claim.json"
    dead = asdict(Process.this()) | {"start": 0}
    claim.write_text(json.dumps(json.loads(claim.read_text()) | {"driver": dead}))
    assert [handed(agenda), handed(agenda)] == [cells[1].spec.id, None]
    claim = store.results / "running" / cells[2].spec.id / "claim.json"
    claim.write_text(json.dumps(json.loads(claim.read_text()) | {"driver": FAR, "worker": FAR}))
    assert handed(agenda) is None
    os.utime(claim, (0, 0))  # a silent host
    assert handed(agenda) == cells[2].spec.id


def test_a_search_that_cannot_write_is_not_taken_for_one_that_has_ended(store: Store) -> None:
    def search() -> Iterator[Work]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    agenda = Agenda(search(), store)
    with pytest.raises(Interrupted) as caught:
        agenda.next()
    assert caught.value.cause == "disk_full" and not agenda.finished


def test_whom_a_trial_is_waited_for_is_said_once(store: Store, cells: tuple[Cell, ...]) -> None:
    said: list[str] = []
    for cell in cells[:2]:
        assert store.claim(cell.spec.id, Process.this())
        claim = store.results / "running" / cell.spec.id / "claim.json"
        content = json.loads(claim.read_text())
        claim.write_text(json.dumps(content | {"worker": FAR, "driver": FAR}))
    agenda = Agenda(plain_work(cells, store), store, said.append)
    assert handed(agenda) == cells[2].spec.id
    assert len(said) == 1 and f"waiting for {cells[0].spec.id}" in said[0]
    assert "process 1 on elsewhere gave a sign" in said[0] and "after 600 s without a sign" in said[0]
