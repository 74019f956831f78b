"""What ``medctx plan`` does: the trials of a study, what is skipped, and what it will take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.commands.arguments import Folder, StudyLike, study_of
from harness.commands.split_sizes import SplitSize, split_sizes
from harness.data.caches import data_folder
from harness.progress.known import known_study
from harness.progress.missing import standing_of
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.selection import plan_entry, search_entry, skip_lines
from harness.study.study import Study
from harness.sweep.forecast import Forecast, arms_of, forecast_of
from harness.sweep.packing import arm_key, write_needs
from harness.sweep.probe import probe_apart


@dataclass(frozen=True)
class Plan:
    """The trials of a study, and where it stands.

    Attributes:
        study: as its file declares it.
        results: the folder of the records.
        trials: one mapping per trial, pretrainings first, with the keys that ``--only`` takes.
        skipped: one mapping per cell that is left out: its factors, and ``reason``.
        searches: what is to come of each searched arm.
        splits: how its cases are divided, one for each split, the folds of one together.
    """

    study: Study
    results: Path
    trials: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    searches: list[dict[str, Any]]
    splits: list[SplitSize]

    def skip_lines(self) -> list[str]:
        """Return what is skipped and why, in a line each."""
        return list(skip_lines(self.study))

    def forecast(self, workers: int | None = None) -> Forecast:
        """Return what the study will take, from its records and from what was probed.

        Args:
            workers: trials at a time; by default one for each GPU, or as many as the cores allow.

        Raises:
            UserError: a record cannot be read.
        """
        store = Store(self.results, writable=False)
        return forecast_of(standing_of(known_study(self.study, store), store), store, workers)


def plan(
    study: StudyLike,
    *,
    results: Folder = "results",
    data: Folder | None = None,
    probe: bool = False,
    on_probe: Callable[[TrialSpec], None] = lambda spec: None,
) -> Plan:
    """Return the trials of a study, the cells that are skipped with their reasons, and what it will take.

    Args:
        study: a study, its name, or the path of its file.
        results: folder of records.
        data: folder of the datasets, to count cases and for a probe; by default ``MEDCTX_DATA``.
        probe: measure what each arm takes on this device, each in a process of its own, and keep it with the results.
        on_probe: told of each arm before it is probed.

    Raises:
        UserError: the study is wrong, or an arm cannot run here.
    """
    declared = study_of(study, data)
    if probe:
        _probe(declared, Store(Path(results)), data_folder(data), on_probe)
    return Plan(
        declared,
        Path(results),
        trials=[plan_entry(cell) for cell in (*declared.nodes, *declared.cells)],
        skipped=[{**skip.factors, "reason": skip.reason} for skip in declared.skipped],
        searches=[search_entry(arm) for arm in declared.search.arms] if declared.search else [],
        splits=split_sizes([cell.spec.dataset for cell in declared.cells], data_folder(data)),
    )


def _probe(study: Study, store: Store, data: Path | None, on_probe: Callable[[TrialSpec], None]) -> None:
    standing = standing_of(known_study(study, store), store)
    for arm in arms_of(standing.declared_cells, store):
        on_probe(arm.spec)
        write_needs(store.results, {arm_key(arm.spec): probe_apart(arm.spec, data)})
