"""What ``medctx status`` says of a trial that is not simply complete or waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.records.faults import rule_of
from harness.records.schema import history_tail
from harness.records.store import Store
from harness.study.cells import Cell

_LINES = 3  # of the log


def describe(cell: Cell, state: str, store: Store) -> Iterator[str]:
    """Yield lines on a trial that failed, runs, or was put down: class, node, attempts, last log lines, advice."""
    id = cell.spec.id
    if state == "running" and (owner := store.owner(id)):
        attempt = owner.attempt.rpartition("-")[2]
        yield _head(state, cell, "", owner.worker.host, attempt)
        yield from _log(store.attempt_folder(id, owner.attempt))
    elif state == "failed" and (record := store.record(id)) and record.cause:
        host = record.environment.host if record.environment else ""
        yield _head(state, cell, record.cause.kind, host, str(record.attempts))
        yield from _detail(record.cause.kind, record.cause.message, record.cause.traceback, store.trials / id)
    elif state == "pending" and (released := store.released(id)):
        host, _, attempt = released.where.rpartition("/")
        yield _head("paused", cell, released.kind, host, attempt.rpartition("-")[2])
        folder = store.attempt_folder(id, attempt)
        yield from _detail(released.kind, released.message, released.traceback, folder)


def _head(state: str, cell: Cell, kind: str, host: str, attempt: str) -> str:
    parts = [kind, f"on {host}" if host else "", f"attempt {attempt}"]
    return f"{state}: {cell.spec.id}  {cell.label()}  ({', '.join(part for part in parts if part)})"


def _detail(kind: str, message: str, traceback: str, folder: Path) -> Iterator[str]:
    yield f"    {message}"
    tail = traceback.strip().splitlines()[-_LINES:]
    yield from (f"    | {line}" for line in tail) if tail else _log(folder)
    yield f"    → {rule_of(kind).action}"


def _log(folder: Path) -> Iterator[str]:
    """Yield the last lines of a history in a form for people."""
    for line in history_tail(folder)[-_LINES:]:
        texts = (
            f"{key} {_short(value)}" for key, value in line.items() if key not in ("step", "learning_rate")
        )
        yield f"    | step {line['step']}: {', '.join(texts)}"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_short(part)}" for key, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
