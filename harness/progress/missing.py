"""What a study still lacks, and whether it can be computed: everything that is known before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.errors import UserError
from harness.records.faults import is_final
from harness.records.store import Store
from harness.search.findings import Findings
from harness.spec import DatasetSpec, TrialSpec, canonical_json
from harness.study.cells import Cell
from harness.study.study import Study


@dataclass(frozen=True)
class Known:
    """A study as far as it is known.

    Attributes:
        declared: the study as its file declares it.
        findings: of its searches, so far.
    """

    declared: Study
    findings: Sequence[Findings] = ()

    @cached_property
    def study(self) -> Study:
        """The study with the trials that confirm what its searches have found: what a report is about."""
        return self.declared.joined_by([trials for found in self.findings for trials in found.confirming()])

    @cached_property
    def whole(self) -> Study:
        """The same with the trials of all suggestions."""
        return self.study.joined_by([trials for found in self.findings for trials in found.suggested()])

    @property
    def suggested(self) -> tuple[Cell, ...]:
        """The trials of all suggestions."""
        return tuple(cell for found in self.findings for cell in found.cells())

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All trials that have an id, pretrainings first."""
        return (*self.whole.nodes, *self.whole.cells)

    @property
    def to_come(self) -> int:
        """How many trials will come of searches that have no id yet."""
        return sum(found.trials_to_come for found in self.findings)

    @property
    def searching(self) -> bool:
        """Whether a search is not over."""
        return not all(found.is_over for found in self.findings)


def missing_cells(cells: Sequence[Cell], store: Store) -> list[Cell]:
    """Return the cells to compute: all but complete ones and failures that would only repeat.

    A pretraining is computed where a missing trial starts from it, or where it was chosen alone.
    """
    records = ((cell, store.record(cell.spec.id)) for cell in cells)
    missing = [cell for cell, record in records if record is None or not is_final(record)]
    return _without_idle(missing, cells)


def states_of(cells: Sequence[Cell], store: Store) -> dict[str, str]:
    """Return the state of each trial by id."""
    return {cell.spec.id: store.status(cell.spec.id) for cell in cells}


def needed_cells(cells: Sequence[Cell], states: Mapping[str, str]) -> list[Cell]:
    """Return all cells but pretrainings that were not kept and that only complete trials started from.

    So it is where trials were taken over from published records.
    """
    incomplete = [cell for cell in cells if states[cell.spec.id] != "complete"]
    needed = {cell.spec.id for cell in _without_idle(incomplete, cells)}
    return [cell for cell in cells if states[cell.spec.id] == "complete" or cell.spec.id in needed]


def _without_idle(cells: Sequence[Cell], every: Sequence[Cell]) -> list[Cell]:
    """Return ``cells`` without pretrainings of trials among ``every`` of which none is among ``cells``."""
    served = {cell.spec.pretraining for cell in every}
    wanted = {cell.spec.pretraining for cell in cells}
    return [cell for cell in cells if cell.spec.id in wanted or cell.spec.id not in served]


def check_data(
    cells: Sequence[Cell],
    missing: Sequence[Cell],
    store: Store,
    data_root: Path | None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Preprocess what the missing cells need, and check it against the records that they join.

    Raises:
        UserError: data missing or broken, too many shots, or a record made from other data.
    """
    contents: dict[DatasetSpec, str] = {}
    seen: set[str] = set()
    for cell in missing:
        key = _data_key(cell.spec)
        if key not in seen:
            seen.add(key)
            contents[cell.spec.dataset] = content_of(cell.spec, data_root, tick)
    for cell in cells:
        record = store.record(cell.spec.id)
        present = contents.get(cell.spec.dataset)
        if record and record.protocol and present and record.protocol.content_hash != present:
            raise UserError(
                f"dataset {cell.spec.dataset.name!r}",
                f"content hash {present}",
                f"{record.protocol.content_hash}, that of the record {store.trials / record.id}",
                "Use the same data, or another results folder.",
            )


def content_of(spec: TrialSpec, data_root: Path | None, tick: Callable[[], None] = lambda: None) -> str:
    """Return the content hash of a trial's data, which are preprocessed first where they have not been yet.

    Raises:
        UserError: data missing or broken, or too many shots.
    """
    from harness.data.loading import load_data

    return load_data(spec, data_root, tick).content


def _data_key(spec: TrialSpec) -> str:
    recipe = spec.recipe
    return canonical_json(
        [
            spec.dataset.model_dump(mode="json"),
            spec.shots,
            spec.subset,
            recipe.spacing,
            recipe.intensity,
            recipe.crop,
            recipe.resampling,
            recipe.label_resampling,
        ]
    )
