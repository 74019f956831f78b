"""How many cases each split of a study has, as far as that is known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.data.datasets.contract import Case, Dataset
from harness.data.part_counts import PartCounts, count_parts, unread_split_file
from harness.data.splits import FOLDER, find_split, shipped_split
from harness.errors import UserError
from harness.spec import DatasetSpec


@dataclass(frozen=True)
class SplitSize:
    """The size of one split of a study, the folds of it together.

    Attributes:
        dataset: its name.
        counts: of its parts; None where ``fault`` says why they are not known.
        declared: how many folds the split has, of which the study may name some.
        fault: what is wrong, or missing.
        note: what else there is to say of it.
    """

    dataset: str
    counts: PartCounts | None
    declared: int | None
    fault: str = ""
    note: str = ""

    def lines(self) -> Iterator[str]:
        """Yield what to print of it."""
        if self.counts is None:
            yield f"split of {self.dataset}: {self.fault}"
            return
        of = f" (the split has {self.declared})" if self.declared not in (None, self.counts.folds) else ""
        yield f"split of {self.dataset}: {self.counts.text()}{of}"
        for warning in filter(None, (self.counts.warning(), self.note)):
            yield f"warning: {warning}"

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        told = self.counts.as_json() if self.counts else {"fault": self.fault}
        return {"dataset": self.dataset, **told} | ({"note": self.note} if self.note else {})


def split_sizes(specs: Sequence[DatasetSpec], root: Path | None) -> list[SplitSize]:
    """Return the sizes of the splits of a study.

    Args:
        specs: of its trials.
        root: folder of the datasets; without them only splits that are lists can be counted.
    """
    groups: dict[DatasetSpec, list[DatasetSpec]] = {}
    for spec in dict.fromkeys(specs):
        apart = {} if spec.split_folds is None else {"split_fold": 0, "split_parts": None}
        groups.setdefault(spec.model_copy(update=apart), []).append(spec)
    return [_size(group, root) for group in groups.values()]


def _size(folds: Sequence[DatasetSpec], root: Path | None) -> SplitSize:
    """Return the size of the folds of one split."""
    name, declared = folds[0].name, folds[0].split_folds
    dataset: Dataset = registry.load("dataset", name)()
    try:
        cases, twin = dataset.cases(root), dataset.is_twin(root)
    except UserError:
        cases, twin = _listed_cases(dataset, folds), False
        if not cases:
            fault = "known only where the data are (--data DIR or MEDCTX_DATA)"
            return SplitSize(name, None, declared, fault)
    try:
        splits = [find_split(dataset, spec, cases, twin) for spec in folds]
    except UserError as error:
        return SplitSize(name, None, declared, str(error))
    named = folds[0].split_parts is not None
    counts = count_parts(splits, cases, dataset.knows_patients(cases))
    return SplitSize(name, counts, declared, note="" if named else unread_split_file(dataset, root))


def _listed_cases(dataset: Dataset, folds: Sequence[DatasetSpec]) -> list[Case]:
    """Return the cases that splits list, without their files; none where a split depends on what is on disk."""
    ids: set[str] = set()
    for spec in folds:
        if spec.split_parts is not None and spec.split_name is None:
            ids |= {*spec.split_parts.train, *spec.split_parts.validation, *(spec.split_parts.test or ())}
        elif spec.split_parts is None and spec.split_name not in (None, FOLDER):
            ids |= {*shipped_split(spec.name, str(spec.split_name)).cases}
        else:
            return []
    return [Case(id, dataset.patient(id)) for id in sorted(ids)]
