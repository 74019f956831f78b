"""The results of a study as data frames, for analyses of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.arguments import Folder, StudyLike, study_of
from harness.progress.adoption import adopt_published
from harness.progress.known import KnownStudy
from harness.progress.missing import needed_cells, states_of
from harness.records.store import Store
from harness.study.cells import Cell
from harness.study.selection import choose_cells
from harness.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from harness.reporting.write import Report


@dataclass(frozen=True)
class StudyResults:
    """What a study found so far. The frames are read when they are asked for, and kept.

    Attributes:
        known: the study, with what its searches have found.
        folder: of the records.
        only: filters by which its trials were chosen.
        report: the one that was written with them, if one was.
    """

    known: KnownStudy
    folder: Path
    only: tuple[str, ...] = ()
    report: Report | None = None

    @property
    def study(self) -> Study:
        """The study, with the trials that confirm what its searches have found."""
        return self.known.study

    @cached_property
    def _chosen(self) -> list[Cell]:
        return choose_cells(self.study, self.only)

    @cached_property
    def failed(self) -> list[Cell]:
        """The chosen trials that are not complete."""
        states = states_of(self._chosen, Store(self.folder, writable=False))
        needed = needed_cells(self._chosen, states)
        return [cell for cell in needed if states[cell.spec.id] != "complete"]

    @property
    def is_complete(self) -> bool:
        """Whether all chosen trials are complete, and every search has a best suggestion."""
        return not self.failed and all(found.best() for found in self.known.findings)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: ``id``, the study's factors, ``status``, why it failed, costs and protocol.

        A factor of numbers is a numeric column, NaN where an arm has no such parameter; other factors are None there.
        Times are in seconds, memory in bytes.
        """
        from harness.reporting.frames import trial_frame, with_numbers

        cells = tuple(cell for cell in self._chosen if cell.spec.kind == "train")
        return with_numbers(trial_frame(replace(self.study, cells=cells), self.folder))

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row per complete trial, case, region, role and metric: the study's factors, ``value`` and ``unit``.

        ``value`` is a fraction (Dice, NSD) or mm (HD95, ASSD), NaN where both masks are empty; ``empty`` says which mask
        had no voxel.
        """
        from harness.reporting.frames import case_frame

        factors = self.trials[["id", *self.study.factors]]
        return factors.merge(case_frame(self.trials, self.folder).astype({"id": object}), on="id")

    @cached_property
    def suggestions(self) -> pd.DataFrame:
        """One row per suggestion of a search: ``arm``, ``number``, ``state``, ``objective``, ``reason``, what was drawn.

        ``objective`` is the mean validation Dice, a fraction. Empty where the study does not search.
        """
        import pandas as pd

        rows = [
            {
                "arm": found.arm.name, "number": one.number, "state": one.state, "objective": one.objective,
                "reason": one.reason, **one.values,
            }
            for found in self.known.findings
            for one in found.suggestions
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=None if rows else ["arm", "number", "state", "objective", "reason"])

    def write_csv(self, folder: Folder) -> list[Path]:
        """Write ``trials.csv``, ``cases.csv`` and, of a search, ``suggestions.csv``, for R for example; return their paths.

        Args:
            folder: is made where it is not there.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        frames = {"trials": self.trials, "cases": self.cases}
        frames |= {"suggestions": self.suggestions} if self.known.findings else {}
        for name, frame in frames.items():
            frame.to_csv(target / f"{name}.csv", index=False)
        return [target / f"{name}.csv" for name in frames]


def results(study: StudyLike, *, results: Folder = "results", only: Sequence[str] = ()) -> StudyResults:
    """Return what a study found so far; what was published of it is taken over first.

    Args:
        study: a study, its name, or the path of its file.
        results: folder of records.
        only: ``KEY=VALUE`` filters on the keys of a plan's trials.

    Raises:
        UserError: the study is wrong, a filter leaves nothing, or published records cannot be read.
    """
    store = Store(Path(results))
    known = adopt_published(study_of(study), store).known
    choose_cells(known.study, only)  # refuses filters that leave nothing
    return StudyResults(known, store.results, tuple(only))
