"""Which trial is handed out next, and what becomes of one whose worker dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agenda import Agenda, plain_work
from harness.store import Store
from harness.study import load_study
from harness.sweep import _Handout


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def handout(store: Store) -> _Handout:
    return _Handout(Agenda(plain_work(load_study("quickstart").cells[:2], store), store), {}, store)


def test_a_trial_whose_worker_died_comes_back_and_fails_at_the_third_time(
    handout: _Handout, store: Store
) -> None:
    first = handout.suggest("a")["spec"]
    id = load_study("quickstart").cells[0].spec.id
    for name in ("b", "c"):
        handout.on_trial_complete("a" if name == "b" else "b", error=True)
        assert handout.suggest(name)["spec"] == first
    assert store.status(id) == "pending"
    handout.on_trial_complete("c", error=True)
    record = store.record(id)
    assert record and record.cause and record.cause.kind == "worker_lost"
    assert handout.suggest("d")["spec"] != first


def test_an_error_outside_of_a_trial_is_recorded_with_its_traceback(handout: _Handout, store: Store) -> None:
    handout.suggest("a")
    handout.on_trial_complete("a", {"done": True, "error": {"message": "no disk", "traceback": "where"}})
    record = store.record(load_study("quickstart").cells[0].spec.id)
    assert record and record.cause and (record.cause.message, record.cause.traceback) == ("no disk", "where")
