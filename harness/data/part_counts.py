"""How many cases and patients the parts of a split have, and whether they are enough to test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.data.datasets.contract import Case, Dataset
from harness.data.splits import Split
from harness.errors import UserError

FEWEST_TESTED, FEWEST_TESTED_RETRAINING = 7, 12
"""Fewest test patients of the report's tests: for these networks, and for retraining (docs/statistics.md)."""
_UNREAD = "splits_final.json"
_WORDS = {"train": "training", "validation": "validation", "test": "test"}
PATIENTS_NOT_KNOWN = "which cases are of one patient is not known, so each counts as one"


@dataclass(frozen=True)
class PartCounts:
    """The size of a split, or of all folds of one: by part the fewest and the most cases and patients of a fold.

    Attributes:
        folds: how many splits were counted.
        cases, patients: of each part, ``(fewest, most)``.
        tested, tested_patients: cases and patients that are tested, those of all folds together.
        patients_known: whether it is known which cases are of one patient; else each counts as one.
    """

    folds: int
    cases: Mapping[str, tuple[int, int]]
    patients: Mapping[str, tuple[int, int]]
    tested: int
    tested_patients: int
    patients_known: bool = True

    def text(self) -> str:
        """Return the counts in words: ``130 training, 20 validation and 50 test cases``."""
        train, validation, test = (f"{_span(*self.cases[name])} {word}" for name, word in _WORDS.items())
        text = f"{train}, {validation} and {test} cases"
        if self.cases != self.patients:
            train, validation, test = (_span(*self.patients[name]) for name in _WORDS)
            text += f" of {train}, {validation} and {test} patients"
        if self.folds > 1:
            text += f" in each of {self.folds} folds, {self.tested} tested in all"
        return text if self.patients_known else f"{text}; {PATIENTS_NOT_KNOWN}"

    def warning(self) -> str:
        """Return what tests the test patients are too few for; empty where they are enough."""
        number = self.tested_patients
        told = f"{number} test patient{'' if number == 1 else 's'}"
        if number < FEWEST_TESTED:
            needed = f"{FEWEST_TESTED} for these networks, {FEWEST_TESTED_RETRAINING} for retraining"
            return f"{told}: too few for any test ({needed})"
        if number < FEWEST_TESTED_RETRAINING:
            return f"{told}: too few to test for retraining ({FEWEST_TESTED_RETRAINING} needed)"
        return ""

    def as_json(self) -> dict[str, Any]:
        """Return the counts and the warning as plain data."""
        return {**asdict(self), "warning": self.warning()}


def count_parts(splits: Sequence[Split], cases: Sequence[Case], patients_known: bool = True) -> PartCounts:
    """Return the size of a split, or of the folds of one.

    Args:
        splits: at least one.
        cases: those that they divide, with their patients.
        patients_known: of ``Dataset.knows_patients``.
    """
    patient_of = {case.id: case.patient for case in cases}
    counted = {name: [len(split.parts[name]) for split in splits] for name in _WORDS}
    owners = {
        name: [len({patient_of[id] for id in split.parts[name]}) for split in splits] for name in _WORDS
    }
    tested = {id for split in splits for id in split.test}
    return PartCounts(
        len(splits),
        {name: (min(own), max(own)) for name, own in counted.items()},
        {name: (min(own), max(own)) for name, own in owners.items()},
        len(tested),
        len({patient_of[id] for id in tested}),
        patients_known,
    )


def unread_split_file(dataset: Dataset, root: Path | None) -> str:
    """Return what to say of a split file that lies in a dataset's folder, where nobody has named it; empty without one."""
    try:
        path = dataset.place(root)[1] / _UNREAD if dataset.folder_layout is not None else None
    except UserError:
        return ""
    if path is None or not path.is_file():
        return ""
    return f"{path} is read only where a study names it as split.file"


def _span(fewest: int, most: int) -> str:
    return str(most) if fewest == most else f"{fewest} to {most}"
