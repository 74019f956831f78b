"""The forecast of ``medctx plan``: what a study will take."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.forecast import arms_of, row, summary
from harness.gpus import count_gpus
from harness.packing import arm_key, write_needs
from harness.probe import probe_apart
from harness.store import Store
from harness.study import Study


def forecast(
    out: Console, study: Study, results: Path, data: Path | None, probe: bool, workers: int | None
) -> None:
    """Print what a study will take; with ``probe`` measure its arms first, each in a process of its own."""
    cells = (*study.nodes, *study.cells)
    store = Store(results, writable=probe)
    if probe:
        for arm in arms_of(cells, store):
            with out.status(f"probing {arm.spec.method.name} on {arm.spec.architecture.name}"):
                write_needs(store.results, {arm_key(arm.spec): probe_apart(arm.spec, data)})
    arms = arms_of(cells, store)
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
    for line in summary(arms, workers or max(1, gpus or cores // threads), gpus):
        out.print(line, markup=False)
