"""Which trials of a study an ensemble averages: those that differ in the seed alone, or in the fold alone."""

from __future__ import annotations

from collections.abc import Sequence

from harness.spec import canonical_json
from harness.study.cells import FOLD, Cell
from harness.study.study import Study

OVER = {"seed": "seed", "fold": FOLD}
"""What networks may be averaged over, and the factor in which they then differ."""


def groups_of_members(study: Study, over: str) -> list[tuple[Cell, ...]]:
    """Return the tested trials that differ in nothing but ``over``, together; also those that stand alone.

    Args:
        study: with what its searches have found.
        over: a key of :data:`OVER`.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in study.cells:
        if cell.spec.kind == "train" and cell.spec.tested:
            others = [cell.factors.get(key) for key in study.factors if key != OVER[over]]
            groups.setdefault(canonical_json(others), []).append(cell)
    return [tuple(cells) for cells in groups.values()]


def words_of_group(study: Study, over: str, members: Sequence[Cell]) -> str:
    """Return a short name for people: what tells the members from the trials of other ensembles of the study."""
    first = members[0].factors
    apart = [key for key in study.varying() if key not in (OVER[over], "method")]
    settings = [f"{key} {first[key]}" for key in apart if first.get(key) is not None]
    return ", ".join([str(first["method"]), *settings])
