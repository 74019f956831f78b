"""What ``medctx compare`` does: trials that were run twice, score by score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.commands.arguments import Folder, StudyLike, study_of
from harness.errors import UserError
from harness.progress.known import known_study
from harness.publishing.compare import Reproduction, reproductions
from harness.records.store import Store


@dataclass(frozen=True)
class Comparison:
    """The trials of a study that are in both folders, of ``planned`` ones."""

    trials: tuple[Reproduction, ...]
    planned: int

    @property
    def differing(self) -> tuple[Reproduction, ...]:
        """Those of which a score is not the same in every bit."""
        return tuple(one for one in self.trials if one.differing)

    def agrees(self, tolerance: float = 0.0) -> bool:
        """Return whether the mean Dice (0 to 1) of no trial is further apart than ``tolerance``."""
        return all(one.agrees(tolerance) for one in self.trials)


def compare(study: StudyLike, *, results: Folder = "results", other: Folder = "results") -> Comparison:
    """Compare trials that were run twice, score by score.

    Args:
        study: a study, its name, or the path of its file.
        results: a results folder: its own trials, else those published below it.
        other: another one.

    Raises:
        UserError: both are one folder, or they share no trial.
    """
    one, another = Path(results), Path(other)
    declared = study_of(study)
    if one.resolve() == another.resolve():
        raise UserError(
            f"medctx compare {declared.name}", f"the same folder twice, {one}", "two folders of results",
            "Name one with --results and the other with --with.",
        )  # fmt: skip
    known = known_study(declared, Store(one, writable=False))
    cells = [cell for cell in known.cells if cell.spec.kind == "train"]
    return Comparison(tuple(reproductions(cells, one, another)), len(cells))
