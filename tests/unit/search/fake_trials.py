"""Trials that nobody trains: their validation Dice is a formula, so that searches are tested in milliseconds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.records.processes import Process
from harness.records.schema import Cause, Protocol, TrialRecord, append_history, write_cases
from harness.records.store import RESUME, Store
from harness.spec import TrialSpec
from harness.study.cells import Cell
from harness.study.expand import load_study
from harness.study.study import Study
from harness.sweep.agenda import Agenda, Task, Work
from harness.sweep.suggestions import search_work

STUDY = """
question: which?
base: {dataset: phantom, architecture: unet, shots: 2, recipe: {steps: 40, validate_every: 10}}
search:
  arms:
    medcontext:
      method.masking.ratio: declared
      method.teacher.m0: declared
      recipe.learning_rate: {low: 0.0003, high: 0.03, log: true}
  suggestions: 7
  batch: 3
  seeds: [0, 1]
  startup: 3
  confirm: {best: 2, seeds: [10, 11]}
"""
TEST_CASES = 14


def write_study(folder: Path, text: str = STUDY) -> Study:
    path = folder / "sought.yaml"
    path.write_text(text)
    return load_study(str(path))


def dice(spec: TrialSpec, step: int) -> float:
    """Return a validation Dice that is best at a ratio of 0.6 and a learning rate of 0.003, and grows with the steps."""
    ratio = spec.method.parameters.get("masking", {}).get("ratio", 0.6)
    miss = (ratio - 0.6) ** 2 + 0.1 * math.log10(spec.recipe.learning_rate / 0.003) ** 2
    return 0.8 * (1 - math.exp(-step / 20)) - miss + 0.01 * spec.seed


def run(store: Store, task: Task, fails: Callable[[TrialSpec], str] = lambda spec: "") -> None:
    """Do to the store what a trial does: pause, or publish a record with its history."""
    spec, steps = task.spec, task.spec.recipe.steps
    attempt = store.claim(spec.id, Process.this())
    assert attempt is not None, "a finished trial was handed out again"
    last = min(task.pause_at or steps, steps)
    (attempt.folder / "history.jsonl").unlink(missing_ok=True)
    values = [(step, dice(spec, step)) for step in range(10, last + 1, 10)]
    append_history(
        attempt.folder,
        [{"step": step, "validation": {"lobe": value}, "mean": value} for step, value in values],
    )
    cause = fails(spec)
    if last < steps and not cause:
        (attempt.folder / RESUME).write_bytes(b"weights")
        attempt.pause(last)
        return
    if spec.tested and not cause:
        write_cases(attempt.folder, [case_row(spec, number) for number in range(TEST_CASES)])
    attempt.publish(
        TrialRecord(
            id=spec.id, status="failed" if cause else "complete", kind=spec.kind, spec=spec, selected_step=last,
            cause=Cause(kind=cause, message="as it was told to") if cause else None, protocol=protocol(spec),
        )
    )  # fmt: skip


def case_row(spec: TrialSpec, number: int) -> dict[str, Any]:
    noise = random.Random(f"{spec.id} {number}").gauss(0, 0.02)
    value = dice(spec, spec.recipe.steps) + 0.01 * number + noise
    return {"case": f"case_{number:02d}", "region": "lobe", "role": "student", "metric": "dice",
            "value": value, "unit": "", "empty": "none"}  # fmt: skip


def protocol(spec: TrialSpec) -> Protocol:
    recipe = spec.recipe
    return Protocol(
        dataset=spec.dataset.name, dataset_version=1, content_hash="c0ffee", split_hash="5b117", split_rule="by patient",
        training_cases=["a", "b"], validation_cases=["v"], test_cases=[f"case_{n:02d}" for n in range(TEST_CASES)],
        spacing=list(recipe.spacing), patch=list(recipe.patch), intensity=recipe.intensity, augmentation={},
        steps=recipe.steps, batch=recipe.batch, selection=recipe.selection, inference={}, convention="harness",
    )  # fmt: skip


def run_search(
    study: Study,
    results: Path,
    fails: Callable[[TrialSpec], str] = lambda spec: "",
    order: Callable[[Sequence[Cell]], Sequence[Cell]] = lambda cells: cells,
) -> list[Work]:
    """Run a search to its end as the sweep does, and return the portions that it asked for."""
    store, seen = Store(results), []

    def work() -> Iterator[Work]:
        for portion in search_work(study, store):
            seen.append(portion)
            yield Work(tuple(order(portion.cells)), portion.pause_at)

    agenda = Agenda(work(), store)
    while task := agenda.next():
        run(store, task, fails)
        agenda.returned(task.spec.id)
    assert agenda.finished
    return seen
