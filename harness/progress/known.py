"""A study as far as it is known: what its file declares, and what its searches have found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.publishing.adopt import journal_folder
from harness.records.store import Store
from harness.search.findings import JOURNAL, Findings
from harness.study.cells import Cell
from harness.study.study import Study


@dataclass(frozen=True)
class KnownStudy:
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


def known_study(study: Study, store: Store) -> KnownStudy:
    """Return a study with what its searches have found so far; nothing is written."""
    if study.search is None:
        return KnownStudy(study)
    folder = journal_folder(study, store)
    if not (folder / JOURNAL).is_file():
        return KnownStudy(study, [Findings(arm) for arm in study.search.arms])
    from harness.search.optuna_journal import read_findings

    return KnownStudy(study, read_findings(study, folder))
