"""An expanded study: its cells, what is skipped, and what its report shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.study.cells import PER_SEED, Cell, Trials, setting_of
from harness.study.file import Labels, ReportSpec
from harness.study.names import Names, names_of
from harness.study.searches import Search


@dataclass(frozen=True)
class Skip:
    """A declared cell that is not run, and why."""

    factors: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Study:
    """An expanded study.

    ``cells`` are what it compares; ``nodes`` are the pretrainings that cells start from, each once; ``commands`` run it, overrides
    included. Where it searches, ``cells`` are the trials that confirm, as far as they are known. ``weights`` are the files that
    networks start from, by SHA-256, and ``weights_lines`` say what of them fits. ``parts`` are the studies that this one combines,
    for one report.
    """

    name: str
    question: str
    cells: tuple[Cell, ...]
    skipped: tuple[Skip, ...]
    report: ReportSpec
    keep: str
    factors: tuple[str, ...]
    nodes: tuple[Cell, ...] = ()
    commands: tuple[str, ...] = ()
    search: Search | None = None
    labels: Labels = field(default_factory=Labels)
    weights: Mapping[str, Path] = field(default_factory=dict)
    weights_lines: tuple[str, ...] = ()
    parts: tuple[Study, ...] = ()

    @cached_property
    def names(self) -> Names:
        """What people read in place of what the study's file calls arms, factors, values and regions."""
        searched = self.search.keys() if self.search else ()
        return names_of(self.cells, dict.fromkeys((*self.factors, *searched)), self.labels)

    def joined_by(self, trials: Sequence[Trials]) -> Study:
        """Return the study with more cells and the pretrainings that they start from, none of them twice."""
        cells, nodes = list(self.cells), list(self.nodes)
        for one in trials:
            cells += one.cells
            nodes += one.nodes
        return replace(
            self,
            cells=tuple(_complete(cell, self.factors) for cell in _distinct(cells)),
            nodes=tuple(_distinct(nodes)),
        )

    def with_nodes(self, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """Return ``cells`` and before them the pretrainings that they start from."""
        needed = {cell.spec.pretraining for cell in cells} | {cell.spec.id for cell in cells}
        trials = [cell for cell in cells if cell.spec.kind == "train"]
        return (*(node for node in self.nodes if node.spec.id in needed), *trials)

    def varying(self) -> tuple[str, ...]:
        """Return the factors that take more than one value, in the order of declaration."""
        return self._varying

    @cached_property
    def _varying(self) -> tuple[str, ...]:
        values = {key: {repr(cell.factors.get(key)) for cell in self.cells} for key in self.factors}
        return tuple(key for key in self.factors if len(values[key]) > 1)


def _complete(cell: Cell, keys: Sequence[str]) -> Cell:
    """Return the cell with the resolved value of every key that some cell of the study sets."""
    missing = {key: setting_of(cell.spec, key) for key in keys if key not in cell.factors}
    if "recipe.steps" in missing:
        missing["recipe.steps"] = cell.steps
    return replace(cell, factors={**cell.factors, **missing}) if missing else cell


def _distinct(cells: Iterable[Cell]) -> list[Cell]:
    """Return the first of the cells of each trial.

    Raises:
        UserError: one draw of few cases is asked for by its number and as that of a seed: it would be missing in one arm.
    """
    found: dict[str, Cell] = {}
    for cell in cells:
        first = found.setdefault(cell.spec.id, cell)
        if first.factors["subset"] != cell.factors["subset"]:
            raise UserError(
                "subset", f"{PER_SEED} beside {cell.spec.subset}, which is the draw of seed {cell.spec.seed}",
                f"numbers, or {PER_SEED} alone", "Ask the two questions in two studies.",
            )  # fmt: skip
    return list(found.values())
