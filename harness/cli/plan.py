"""The forecast of ``medctx plan``: what a study will take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.progress.missing import Known, needed_cells, states_of
from harness.publishing.records import published_note, published_states
from harness.records.store import Store
from harness.sweep.forecast import arms_of, row, summary
from harness.sweep.gpus import count_gpus
from harness.sweep.packing import arm_key, write_needs
from harness.sweep.probe import probe_apart


def forecast(
    out: Console, known: Known, store: Store, data: Path | None, probe: bool, workers: int | None
) -> None:
    """Print what a study will take; with ``probe`` measure its arms first, each in a process of its own.

    Of searches only the number of trials is told: each suggestion is an arm of its own.
    """
    study, published = known.declared, published_states(known.cells, store)
    states = states_of(known.cells, store) | published
    cells = needed_cells((*study.nodes, *study.cells), states)
    if probe:
        for arm in arms_of(cells, store):
            with out.status(f"probing {arm.spec.method.name} on {arm.spec.architecture.name}"):
                write_needs(store.results, {arm_key(arm.spec): probe_apart(arm.spec, data)})
    arms = arms_of(cells, store, published)
    gpus = count_gpus()
    if any(arm.need for arm in arms):
        rows = [row(arm, gpus) for arm in arms]
        keys = list(dict.fromkeys(key for one in rows for key in one))
        table = Table(*keys, box=None, pad_edge=False)
        for one in rows:
            table.add_row(*(one.get(key, "") for key in keys))
        out.print(table)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max((cell.spec.recipe.threads for cell in cells), default=1)
    if published:
        out.print(published_note(published, study), markup=False)
    workers = workers or max(1, gpus or cores // threads)
    for line in summary(arms, workers, gpus, _to_come(known, states)):
        out.print(line, markup=False)


def _to_come(known: Known, states: Mapping[str, str]) -> int:
    """Return how many trials of searches are to run, whether they are known yet or not."""
    declared = {cell.spec.id for cell in (*known.declared.nodes, *known.declared.cells)}
    open_ones = {id for id, state in states.items() if state in ("pending", "running")}
    return known.to_come + len(open_ones - declared)
