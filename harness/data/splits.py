"""Splits by patient and nested few-shot subsets, each with a hash that names it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from harness.data.datasets.contract import Case, Fractions
from harness.errors import UserError, did_you_mean
from harness.seeding import numpy_generator
from harness.spec import Shots, digest

_FOLDER = Path(__file__).parent / "splits"


@dataclass(frozen=True)
class Split:
    """Case ids by part; ``rule`` says where they come from. ``subsets`` are published few-shot cases by name."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    rule: str
    subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The case ids of each part."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def cases(self) -> tuple[str, ...]:
        """All case ids."""
        return (*self.train, *self.validation, *self.test)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that identify which case is in which part."""
        return digest(self.parts)


def shipped_split(dataset: str, name: str) -> Split:
    """Return a published split, as it lies in ``splits/<dataset>.<name>.json``."""
    content = json.loads((_FOLDER / f"{dataset}.{name}.json").read_text())
    train, validation, test = (tuple(content[part]) for part in ("train", "validation", "test"))
    rule = f"{name} (version {content['version']}): {content['rule']}; {content['source']}"
    return Split(train, validation, test, rule, {key: tuple(ids) for key, ids in content["subsets"].items()})


def exclude_cases(split: Split, excluded: Sequence[str]) -> Split:
    """Return the split without the excluded cases; the rule, and the hash, say so."""
    if not excluded:
        return split
    parts = {name: tuple(case for case in ids if case not in excluded) for name, ids in split.parts.items()}
    subsets = {name: ids for name, ids in split.subsets.items() if not set(ids) & set(excluded)}
    return Split(**parts, rule=f"{split.rule}; without {', '.join(excluded)}", subsets=subsets)


def split_on_disk(split: Split, cases: Sequence[Case], where: str, twin: bool) -> Split:
    """Return the split, checked against the cases that there are.

    Args:
        split: shipped.
        cases: on disk.
        where: the dataset, for messages.
        twin: whether the dataset is a layout twin, which has a part of the cases.

    Raises:
        UserError: a case of the split is not on disk, or a patient is in two parts.
    """
    present = {case.id: case.patient for case in cases}
    parts = split.parts
    missing = [case for case in split.cases if case not in present]
    if twin:
        parts = {name: tuple(case for case in part if case in present) for name, part in parts.items()}
    elif missing:
        listed = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise UserError(
            where, f"{len(missing)} cases of the split are not there ({listed})", "all of them",
            "Restore their files, or exclude them by name with split.exclude.",
        )  # fmt: skip
    patients = {name: {present[case] for case in part} for name, part in parts.items()}
    for one, other in combinations(parts, 2):
        shared = sorted(patients[one] & patients[other])
        if shared:
            raise UserError(
                where, f"patient {shared[0]} in {one} and in {other}", "each patient in one part",
                "Correct the split.",
            )  # fmt: skip
    rule = f"{split.rule}; cases of a layout twin" if twin else split.rule
    subsets = {name: ids for name, ids in split.subsets.items() if set(ids) <= set(parts["train"])}
    return Split(**parts, rule=rule, subsets=subsets)


def generate_split(cases: Sequence[Case], fractions: Fractions, name: str, seed: int) -> Split:
    """Divide the patients found at random, so that no patient is in two parts.

    The order of patients depends on the dataset's name, ``seed`` and their ids alone. Each part gets at
    least one patient.

    Raises:
        UserError: fewer than three patients.
    """
    patients = sorted({case.patient for case in cases})
    if len(patients) < 3:
        raise UserError(
            f"dataset {name!r}", f"{len(patients)} patient(s)", "at least 3, to train, validate and test on",
            "Add cases.",
        )  # fmt: skip
    order = [patients[i] for i in numpy_generator(name, "split", seed).permutation(len(patients))]
    trained = min(max(1, round(fractions.train * len(order))), len(order) - 2)
    validated = min(max(1, round(fractions.validation * len(order))), len(order) - trained - 1)
    part = dict.fromkeys(order[:trained], "train")
    part |= dict.fromkeys(order[trained : trained + validated], "validation")

    def ids(wanted: str) -> tuple[str, ...]:
        return tuple(sorted(case.id for case in cases if part.get(case.patient, "test") == wanted))

    rule = f"generated by patient, seed {seed}, fractions {fractions.train}/{fractions.validation}"
    return Split(ids("train"), ids("validation"), ids("test"), rule)


def few_shot_cases(
    split: Split, cases: Sequence[Case], shots: Shots, name: str, subset: int
) -> tuple[str, ...]:
    """Return the ids of the labelled training cases; smaller subsets are within larger ones.

    A name stands for a published subset. Patients are put in one order that depends on the dataset's name and
    ``subset`` alone, and their cases are taken in that order.

    Raises:
        UserError: more shots than training cases, or a name that the split does not know.
    """
    if shots == "all":
        return split.train
    if isinstance(shots, str):
        if shots not in split.subsets:
            raise UserError(
                "shots", repr(shots), f"a published subset of {name!r}, 'all' or a number",
                did_you_mean(shots, [*split.subsets, "all"]),
            )  # fmt: skip
        return tuple(sorted(split.subsets[shots]))
    patient_of = {case.id: case.patient for case in cases}
    patients = sorted({patient_of[id] for id in split.train})
    order = numpy_generator(name, "few-shot", subset).permutation(len(patients))
    rank = {patients[index]: position for position, index in enumerate(order)}
    ordered = sorted(split.train, key=lambda id: (rank[patient_of[id]], id))
    if not 1 <= shots <= len(ordered):
        raise UserError(
            "shots", str(shots), f"1 to {len(ordered)}, the training cases of {name!r}", "Choose fewer shots."
        )
    return tuple(ordered[:shots])
