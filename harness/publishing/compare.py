"""Whether trials that were run again scored the same, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.publishing.records import case_rows
from harness.study.cells import Cell

if TYPE_CHECKING:
    import pandas as pd

_WORDS = dict.fromkeys(("case", "region", "role", "metric"), object)


@dataclass(frozen=True)
class Reproduction:
    """A trial that was run twice.

    Attributes:
        cell: the trial.
        values: how many scores were compared, of all cases, regions, roles and metrics.
        differing: how many are not the same in every bit, or are in one of the two alone.
        missing: how many are in one of the two alone.
        dice: mean Dice of the student in the one and in the other, over cases and regions, from 0 to 1.
    """

    cell: Cell
    values: int
    differing: int
    missing: int
    dice: tuple[float, float]

    @property
    def change(self) -> float:
        """How far the mean Dice of the two is apart."""
        return abs(self.dice[1] - self.dice[0])

    def agrees(self, tolerance: float) -> bool:
        """Return whether all scores are the same, or, of a tolerance above 0, there in both with means so close."""
        return not self.differing or (tolerance > 0 and not self.missing and self.change <= tolerance)


def reproductions(cells: Sequence[Cell], results: Path, other: Path) -> list[Reproduction]:
    """Return the trials that two results folders have both, compared; records may be published ones.

    Raises:
        UserError: there is no such trial.
    """
    ids = [cell.spec.id for cell in cells]
    ours, theirs = case_rows(results, ids), case_rows(other, ids)
    both = [cell for cell in cells if cell.spec.id in ours and cell.spec.id in theirs]
    if not both:
        raise UserError(
            results, f"none of the study's {len(ids)} trials that {other} has too", "a trial that was run twice",
            "Give 'medctx run' with --results and another folder first.",
        )  # fmt: skip
    return [_compared(cell, theirs[cell.spec.id], ours[cell.spec.id]) for cell in both]


def _compared(cell: Cell, before: pd.DataFrame, after: pd.DataFrame) -> Reproduction:
    rows = before.astype(_WORDS).merge(
        after.astype(_WORDS), on=list(_WORDS), how="outer", suffixes=("", "_after"), indicator=True
    )
    same = (rows["value"] == rows["value_after"]) | (rows["value"].isna() & rows["value_after"].isna())
    alone = rows["_merge"] != "both"
    differing, missing = int((~same | alone).sum()), int(alone.sum())
    return Reproduction(cell, len(rows), differing, missing, (_dice(before), _dice(after)))


def _dice(rows: pd.DataFrame) -> float:
    chosen = rows[(rows["metric"] == "dice") & (rows["role"] == "student")]
    return float(chosen["value"].mean())
