"""What a study still lacks: the state of its trials, in its own records and in published ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.progress.known import KnownStudy
from harness.publishing.adopt import published_states
from harness.records.faults import is_final
from harness.records.store import Store
from harness.study.cells import Cell


@dataclass(frozen=True)
class Standing:
    """How far a study is.

    Attributes:
        known: the study.
        states: of all its trials that have an id; a published one counts as what it was published as.
        published: ids of those that are in published records alone.
    """

    known: KnownStudy
    states: Mapping[str, str]
    published: Collection[str]

    @property
    def cells(self) -> list[Cell]:
        """The trials that count."""
        return needed_cells(self.known.cells, self.states)

    @property
    def declared_cells(self) -> list[Cell]:
        """Those of them that the study's file declares."""
        declared = self.known.declared
        return needed_cells((*declared.nodes, *declared.cells), self.states)

    @property
    def to_come(self) -> int:
        """How many trials of searches are to run, whether they are known yet or not."""
        declared = {cell.spec.id for cell in (*self.known.declared.nodes, *self.known.declared.cells)}
        open_ones = {id for id, state in self.states.items() if state in ("pending", "running")}
        return self.known.to_come + len(open_ones - declared)

    def published_note(self) -> str:
        """Return what to say of trials that are published and not here yet; empty where there is none."""
        if not self.published:
            return ""
        name, number = self.known.declared.name, len(self.published)
        taken = "takes it over" if number == 1 else "takes them over"
        return f"{number} published: 'medctx run {name}' {taken}, and so does 'medctx report'"


def standing_of(known: KnownStudy, store: Store) -> Standing:
    """Return how far a study is; nothing is written."""
    published = published_states(known.cells, store)
    return Standing(known, states_of(known.cells, store) | published, published.keys())


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
