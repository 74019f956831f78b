"""Several studies as one, for one report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.parsing import merge
from harness.study.cells import Cell
from harness.study.file import Labels
from harness.study.study import Study

STUDY = "study"
"""The factor that tells cells of different studies apart, where no other does."""


def combine(studies: Sequence[Study], name: str) -> Study:
    """Return a study of all cells; a trial that several studies share counts once.

    Baseline, metrics and tables are those of the first study, and so is a label that several have; each keeps its contrasts. Where two trials that differ have the same factors, which study they
    belong to becomes a factor.

    Args:
        studies: at least one.
        name: of the whole.
    """
    factors = tuple(dict.fromkeys(key for study in studies for key in study.factors))
    if _ambiguous(studies, factors):
        factors = (*factors, STUDY)
    cells: dict[str, Cell] = {}
    for study in studies:
        for cell in study.cells:
            values = {key: cell.factors.get(key) for key in factors}
            if STUDY in factors:
                values[STUDY] = study.name
            cells.setdefault(cell.spec.id, replace(cell, factors=values))
    labels = _joined([study.labels for study in studies])
    nodes = {node.spec.id: node for study in studies for node in study.nodes}
    return replace(
        studies[0],
        name=name,
        question=" ".join(dict.fromkeys(study.question for study in studies)),
        cells=tuple(cells.values()),
        skipped=tuple(skip for study in studies for skip in study.skipped),
        factors=factors,
        nodes=tuple(nodes.values()),
        commands=tuple(command for study in studies for command in study.commands),
        labels=labels,
        parts=tuple(replace(study, labels=labels) for study in studies),
    )


def _joined(labels: Sequence[Labels]) -> Labels:
    """Return all labels; of two for one thing the first."""
    merged: dict[str, Any] = {}
    for one in reversed(labels):
        merged = merge(merged, one.model_dump())
    return Labels.model_validate(merged)


def _ambiguous(studies: Sequence[Study], factors: Sequence[str]) -> bool:
    """Return whether two trials that differ would look like one arm and seed."""
    seen: dict[tuple[str, ...], str] = {}
    for study in studies:
        for cell in study.cells:
            key = tuple(repr(cell.factors.get(factor)) for factor in factors)
            if seen.setdefault(key, cell.spec.id) != cell.spec.id:
                return True
    return False
