"""Splits by patient, folds and nested few-shot subsets, each with a hash that names it.

:func:`find_split` says which cases of a dataset on disk a trial trains, validates and tests on: those of a shipped split,
of a split file, of a fold, or drawn at random.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from harness.data.datasets.contract import Case, Dataset, Fractions
from harness.errors import UserError, did_you_mean, nearest
from harness.seeding import numpy_generator
from harness.spec import DatasetSpec, Shots, SplitParts, digest

_FOLDER = Path(__file__).parent / "splits"
FOLDER = "folder"
"""The name of a split that is generated, but for the test cases that the dataset's folder has apart."""


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


def find_split(dataset: Dataset, spec: DatasetSpec, cases: Sequence[Case], twin: bool = False) -> Split:
    """Return how a trial's cases are divided.

    Args:
        dataset: whose.
        spec: says which split.
        cases: on disk.
        twin: whether the dataset is a layout twin, which has a part of the cases.

    Raises:
        UserError: ids that are no cases, a patient in two parts, or too few patients.
    """
    excluded, where = spec.split_exclude, f"dataset {spec.name!r}"
    ids = [case.id for case in cases]
    unknown = sorted(set(excluded) - set(ids))
    if unknown and not twin:
        near = nearest(unknown[0], ids)
        raise UserError(
            "split.exclude", ", ".join(unknown), f"cases of {spec.name!r}",
            f"Did you mean {near!r}?" if near else "Correct the ids, or remove them.",
        )  # fmt: skip
    kept = [case for case in cases if case.id not in excluded]
    without = f"; without {', '.join(excluded)}" if excluded else ""
    if spec.split_parts:
        return _split_of_parts(dataset, spec, spec.split_parts, cases, twin)
    if spec.split_name not in (None, FOLDER):
        return split_on_disk(
            exclude_cases(shipped_split(spec.name, str(spec.split_name)), excluded), cases, where, twin
        )
    tests = [case for case in kept if case.test] if spec.split_name else []
    others = [case for case in kept if not case.test]
    if spec.split_folds:
        split = _fold(dataset, spec, others, tests)
    elif tests:
        split = _beside_own_tests(dataset, spec, others, tests)
    else:
        split = generate_split(others, fractions_of(dataset, spec), spec.name, spec.split_seed)
    if left := sum(case.test for case in kept if case.id not in {*split.cases}):
        without = f"; without {left} test cases of the dataset's folder{without}"
    return replace(split, rule=split.rule + without) if without else split


def fractions_of(dataset: Dataset, spec: DatasetSpec) -> Fractions:
    """Return the shares of patients of a generated split: the study's own, or those of the dataset."""
    return Fractions(*spec.split_fractions[:2]) if spec.split_fractions else dataset.fractions


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
        near = nearest(missing[0], present)
        raise UserError(
            where, f"{len(missing)} cases of the split are not there ({_listed(missing)})", "all of them",
            "Restore their files, or exclude them by name with split.exclude."
            + (f" The id nearest to {missing[0]!r} is {near!r}." if near else ""),
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
    validated = validated if fractions.validation else 0
    part = dict.fromkeys(order[:trained], "train")
    part |= dict.fromkeys(order[trained : trained + validated], "validation")

    def ids(wanted: str) -> tuple[str, ...]:
        return tuple(sorted(case.id for case in cases if part.get(case.patient, "test") == wanted))

    rule = f"generated by patient, seed {seed}, fractions {fractions.train}/{fractions.validation}"
    return Split(ids("train"), ids("validation"), ids("test"), rule)


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")


def _ids(cases: Sequence[Case]) -> tuple[str, ...]:
    return tuple(sorted(case.id for case in cases))


def _split_of_parts(
    dataset: Dataset, spec: DatasetSpec, parts: SplitParts, cases: Sequence[Case], twin: bool
) -> Split:
    """Return the split of a file, or of one of its folds, checked against the cases that there are."""
    fold = "" if spec.split_folds is None else f", fold {spec.split_fold} of {spec.split_folds}"
    rule, tests = f"from a file{fold}", parts.test
    own = [case.id for case in cases if case.test] if spec.split_name else []
    if tests is None and own:
        rule += "; tested on the test cases of the dataset's folder"
        tests = _ids([case for case in cases if case.id in own])
    stated = Split(parts.train, parts.validation, tests or (), rule, parts.subsets)
    split = split_on_disk(exclude_cases(stated, spec.split_exclude), cases, f"dataset {spec.name!r}", twin)
    if tests is None:
        inner = [case for case in cases if case.id in {*split.train}]
        split = replace(
            _tested_on_held_out(dataset, spec, inner, split.validation, split.rule), subsets=split.subsets
        )
        split = replace(
            split, subsets={n: ids for n, ids in split.subsets.items() if {*ids} <= {*split.train}}
        )
    unused = sorted({case.id for case in cases} - {*split.cases} - {*spec.split_exclude})
    if unused:
        split = replace(split, rule=f"{split.rule}; {len(unused)} cases in no part ({_listed(unused)})")
    for part, ids in {"train": split.train, "test": split.test}.items():
        if not ids:
            raise UserError(
                f"dataset {spec.name!r}",
                f"no case in the part {part!r}",
                "at least one",
                "Correct the split.",
            )
    return split


def _fold(dataset: Dataset, spec: DatasetSpec, cases: Sequence[Case], tests: Sequence[Case]) -> Split:
    """Return one fold: patients are put in an order that depends on name and seed alone, every n-th is held out."""
    folds, number = int(spec.split_folds or 0), int(spec.split_fold or 0)
    patients = sorted({case.patient for case in cases})
    if len(patients) < folds:
        raise UserError(
            "split.folds", str(folds), f"no more than the {len(patients)} patient(s) of {spec.name!r}", "Choose fewer folds."
        )  # fmt: skip
    order = numpy_generator(spec.name, "folds", spec.split_seed).permutation(len(patients))
    held = {patients[index] for index in order[number::folds]}
    inner = [case for case in cases if case.patient not in held]
    outer = _ids([case for case in cases if case.patient in held])
    rule = f"fold {number} of {folds} by patient, seed {spec.split_seed}"
    if tests:
        split = Split(
            _ids(inner), outer, _ids(tests), f"{rule}; tested on the test cases of the dataset's folder"
        )
        return split_on_disk(split, [*cases, *tests], f"dataset {spec.name!r}", twin=False)
    return _tested_on_held_out(dataset, spec, inner, outer, rule)


def _tested_on_held_out(
    dataset: Dataset, spec: DatasetSpec, inner: Sequence[Case], outer: tuple[str, ...], rule: str
) -> Split:
    """Return the split that tests on what is held out, and draws some of the other patients to validate on."""
    train, validation, share = _with_validation(dataset, spec, inner)
    return Split(
        train,
        validation,
        outer,
        f"{rule}; validation drawn from the training part, seed {spec.split_seed}, share {share:.2g}",
    )


def _beside_own_tests(
    dataset: Dataset, spec: DatasetSpec, others: Sequence[Case], tests: Sequence[Case]
) -> Split:
    train, validation, share = _with_validation(dataset, spec, others)
    rule = f"test cases of the dataset's folder; validation drawn from the others by patient, seed {spec.split_seed}, share "
    split = Split(train, validation, _ids(tests), f"{rule}{share:.2g}")
    return split_on_disk(split, [*others, *tests], f"dataset {spec.name!r}", twin=False)


def _with_validation(
    dataset: Dataset, spec: DatasetSpec, cases: Sequence[Case]
) -> tuple[tuple[str, ...], tuple[str, ...], float]:
    """Divide cases into those to train and to validate on, by patient; return them and the share of the latter.

    The share is that of validation among training and validation patients; some patient is left to train on. The order of
    patients depends on the dataset's name, the seed and the fold.
    """
    fractions = fractions_of(dataset, spec)
    share = fractions.validation / (fractions.train + fractions.validation)
    patients = sorted({case.patient for case in cases})
    fold = () if spec.split_fold is None else (spec.split_fold,)
    order = numpy_generator(spec.name, "validation", spec.split_seed, *fold).permutation(len(patients))
    number = min(max(1, round(share * len(patients))), len(patients) - 1) if share else 0
    drawn = {patients[index] for index in order[:number]}
    return (
        _ids([case for case in cases if case.patient not in drawn]),
        _ids([case for case in cases if case.patient in drawn]),
        share,
    )


def few_shot_cases(
    split: Split, cases: Sequence[Case], shots: Shots, name: str, subset: int, fold: int | None = None
) -> tuple[str, ...]:
    """Return the ids of the labelled training cases; smaller subsets are within larger ones.

    A name stands for a published subset, or for one of a split file. Patients are put in one order that depends on the
    dataset's name, ``subset`` and ``fold`` alone, and their cases are taken in that order.

    Raises:
        UserError: more shots than training cases, or a name that the split does not know.
    """
    if shots == "all":
        return split.train
    if isinstance(shots, str):
        if shots not in split.subsets:
            raise UserError(
                "shots", repr(shots), f"a subset of the split of {name!r}, 'all' or a number",
                did_you_mean(shots, [*split.subsets, "all"]),
            )  # fmt: skip
        return tuple(sorted(split.subsets[shots]))
    patient_of = {case.id: case.patient for case in cases}
    patients = sorted({patient_of[id] for id in split.train})
    names = (name, "few-shot", subset, *(() if fold is None else ("fold", fold)))
    order = numpy_generator(*names).permutation(len(patients))
    rank = {patients[index]: position for position, index in enumerate(order)}
    ordered = sorted(split.train, key=lambda id: (rank[patient_of[id]], id))
    if not 1 <= shots <= len(ordered):
        raise UserError(
            "shots", str(shots), f"1 to {len(ordered)}, the training cases of {name!r}", "Choose fewer shots."
        )
    return tuple(ordered[:shots])
