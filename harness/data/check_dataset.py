"""Everything that is wrong with a dataset on disk, found in one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.data.case_statistics import label_title
from harness.data.check_case import check_case
from harness.data.check_report import CaseFacts, CheckReport
from harness.data.datasets.contract import Case, Dataset
from harness.data.layouts import read_folders
from harness.data.part_counts import count_parts, unread_split_file
from harness.data.splits import FOLDER, Split, find_split, shipped_split
from harness.errors import UserError
from harness.spec import DatasetSpec

_SCALES = 30.0  # between the intensities of two cases, above which they have no common scale
_ODD = 3.0  # between a spacing or shape and the dataset's median
_BESIDE = ("_4d.nii.gz", "_4d.nii", ".cfg", ".md", ".json")  # what challenges put beside cases: series, notes


def check_dataset(
    dataset: Dataset,
    root: Path | None,
    on_progress: Callable[[int, int], None] = lambda done, planned: None,
    name: str | None = None,
) -> CheckReport:
    """Read every file of a dataset and return all findings.

    Args:
        dataset: what to expect.
        root: data root.
        on_progress: told how many cases were read, of how many.
        name: by which a study calls the dataset, on which a generated split depends; by default its title.
    """
    found = CheckReport()
    try:
        cases = dataset.cases(root)
    except UserError as error:
        code = "missing_file" if error.found == "no such file" else "listing"
        message = f"found {error.found}; expected {error.expected}"
        found.add("error", code, "", error.where, message, error.remedy)
        cases = _cases_in_folders(dataset, root)  # so that the rest is checked too
        if not cases or not hasattr(dataset, "labels"):  # what its description would say
            return found
    try:
        dataset.numbering()
    except UserError as error:
        message = f"{error.found}; expected {error.expected}"
        found.add("error", "labels", "", error.where, message, error.remedy)
        return found
    found.cases = len(cases)
    for index, case in enumerate(cases):
        facts = check_case(dataset, case, found)
        if facts is not None:
            found.facts.append(facts)
        on_progress(index + 1, len(cases))
    split = _default_split(dataset, cases, name or dataset.title())
    parts = {case: part for part, ids in split.parts.items() for case in ids} if split else {}
    _compare(dataset, found.facts, parts, found)
    _check_split(dataset, cases, root, found)
    _count_parts(dataset, split, cases, root, found)
    _stray_files(cases, found)
    return found


def _cases_in_folders(dataset: Dataset, root: Path | None) -> list[Case]:
    """Return the cases of which there are files, whatever a listing says."""
    try:
        files = read_folders(dataset.place(root)[1])
    except UserError:
        return []
    return [Case(one.id, dataset.patient(one.id), one.images[0], one.label, one.images[1:]) for one in files]


def _default_split(dataset: Dataset, cases: Sequence[Case], name: str) -> Split | None:
    """Return the split that a study has by default; none where the cases are too few to divide."""
    if dataset.splits:
        return shipped_split(dataset.name(), dataset.splits[0])
    own = FOLDER if dataset.folder_layout is not None else None
    try:
        return find_split(dataset, DatasetSpec(name=name, version=dataset.version, split_name=own), cases)
    except UserError:
        return None


def _count_parts(
    dataset: Dataset, split: Split | None, cases: Sequence[Case], root: Path | None, found: CheckReport
) -> None:
    """Count the parts of the default split, and note a split file that is not read."""
    present = {case.id for case in cases}
    if split is not None:
        kept = {part: tuple(id for id in ids if id in present) for part, ids in split.parts.items()}
        present_parts = Split(**kept, rule=split.rule, subsets={})
        found.parts = count_parts([present_parts], cases, dataset.knows_patients(cases))
        found.rule = split.rule
    if unread := unread_split_file(dataset, root):
        own = (
            "those in imagesTs with labels in labelsTs"
            if any(case.test for case in cases)
            else "drawn at random"
        )
        remedy = "Name it there to use its folds."
        found.add(
            "warning",
            "split_file_not_read",
            "",
            root or dataset.name(),
            f"{unread}; by default the test cases are {own}",
            remedy,
        )


def _compare(
    dataset: Dataset, facts: Sequence[CaseFacts], parts: Mapping[str, str], found: CheckReport
) -> None:
    """Compare the cases with each other."""
    if not facts:
        return
    image = facts[0].case.image
    everywhere = image.parent if image else dataset.name()
    _compare_contents(facts, parts, found)
    _compare_labels(dataset, facts, everywhere, found)
    _compare_grids(facts, found)
    levels = sorted((one.level, one.case.id) for one in facts if one.level > 0)
    if levels and levels[-1][0] > _SCALES * levels[0][0]:
        message = (
            f"99th percentiles of intensity go from {levels[0][0]:.3g} ({levels[0][1]}) to {levels[-1][0]:.3g} "
            f"({levels[-1][1]}): there is no common scale"
        )
        remedy = "Normalise each volume by itself, as recipe.intensity zscore_clipped does."
        found.add("warning", "intensity_scales", "", everywhere, message, remedy)


def _compare_contents(facts: Sequence[CaseFacts], parts: Mapping[str, str], found: CheckReport) -> None:
    """Note cases with equal images or labels: an error where one part of the split would leak into another.

    Maps without a labelled voxel are no copies of each other.
    """
    labelled = [one for one in facts if not one.is_empty]
    for code, compared, contents, what in (
        ("duplicate_image", facts, [one.image_hash for one in facts], "the same voxels as"),
        ("duplicate_label", labelled, [one.label_hash for one in labelled], "the same labels as"),
    ):
        earlier: dict[str, list[CaseFacts]] = {}
        for one, content in zip(compared, contents, strict=True):
            equal = earlier.setdefault(content, [])
            if equal:
                _add_duplicate(code, what, one, equal, parts, found)
            equal.append(one)


def _add_duplicate(
    code: str,
    what: str,
    one: CaseFacts,
    equal: Sequence[CaseFacts],
    parts: Mapping[str, str],
    found: CheckReport,
) -> None:
    own = parts.get(one.case.id)
    leaking = [other for other in equal if own and parts.get(other.case.id, own) != own]
    other = (leaking or equal)[0]
    message = f"has {what} case {other.case.id}"
    if leaking:
        message = (
            f"{message}, which is for {parts[other.case.id]} by the default split; this one is for {own}"
        )
        found.add("error", code, one.case.id, one.file, message, "Exclude one of the two cases.")
    else:
        both = f"; both are for {own}, so that neither leaks" if own and other.case.id in parts else ""
        remedy = (
            "Exclude one of the two cases if they are one by mistake, and where another split divides them."
        )
        found.add("warning", code, one.case.id, one.file, f"{message}{both}", remedy)


def _compare_labels(
    dataset: Dataset, facts: Sequence[CaseFacts], everywhere: object, found: CheckReport
) -> None:
    present = Counter(value for one in facts for value in one.volumes)
    renumber = _check_numbering(dataset, facts, everywhere, found)
    empty = [one for one in facts if one.is_empty]
    if empty:
        ids = ", ".join(one.case.id for one in empty[:5]) + (", …" if len(empty) > 5 else "")
        message = f"{len(empty)} of {len(facts)} cases have no labelled voxel ({ids})"
        remedy = "Nothing has to be done if they are healthy; else correct or exclude them."
        if len(empty) == 1:
            everywhere_or_one = empty[0].case.label or everywhere
            found.add("warning", "empty_foreground", empty[0].case.id, everywhere_or_one, message, remedy)
        else:
            found.add("warning", "empty_foreground", "", everywhere, message, remedy)
    for value in dataset.labels:
        if not value:
            continue
        name = label_title(dataset, value)
        if not present[value]:
            message = f"label {value} ({name}) is in no case"
            found.add(
                "error", "label_in_no_case", "", everywhere, message, renumber or "Check the label's number."
            )
            continue
        for one in facts:
            if value not in one.volumes and set(one.volumes) - {0}:
                message = f"lacks label {value} ({name}), which {present[value]} cases have"
                remedy = "Check whether it is so."
                found.add("warning", "absent_label", one.case.id, one.file, message, remedy)


def _check_numbering(
    dataset: Dataset, facts: Sequence[CaseFacts], everywhere: object, found: CheckReport
) -> str | None:
    """Note that all cases are numbered otherwise where one is; return what to do."""
    for value, remedy in dataset.other_numbering.items():
        cases = [one.case.id for one in facts if value in one.volumes]
        if cases:
            message = (
                f"label {value} is in {len(cases)} of {len(facts)} cases ({', '.join(cases[:5])}): "
                "all cases have another numbering, those without it too"
            )
            found.add("error", "other_numbering", "", everywhere, message, remedy)
            return remedy
    return None


def _compare_grids(facts: Sequence[CaseFacts], found: CheckReport) -> None:
    usual = Counter(one.orientation for one in facts).most_common(1)[0][0]
    median_spacing = np.median([one.spacing for one in facts], axis=0)
    median_shape = np.median([one.shape for one in facts], axis=0)
    for one in facts:
        if one.orientation != usual:
            message = f"has orientation {one.orientation}, others {usual}; both are turned to RAS"
            remedy = "Check left and right by eye."
            found.add("fixed", "other_orientation", one.case.id, one.file, message, remedy)
        for code, own, typical in (
            ("odd_spacing", one.spacing, median_spacing),
            ("odd_shape", one.shape, median_shape),
        ):
            ratio = np.maximum(np.array(own) / typical, typical / np.array(own)).max()
            if ratio > _ODD:
                message = f"has {code[4:]} {list(own)}, the median is {np.round(typical, 3).tolist()}"
                found.add("warning", code, one.case.id, one.file, message, "Look at the case.")


def _check_split(dataset: Dataset, cases: Sequence[Case], root: Path | None, found: CheckReport) -> None:
    """Compare the cases on disk with the dataset's default split, or with the card of a twin."""
    patients = {case.id: case.patient for case in cases}
    where = root or dataset.name()
    name, parts = "", {}
    if dataset.splits:
        name, split = f"split {dataset.splits[0]}", shipped_split(dataset.name(), dataset.splits[0])
        parts = split.parts
    listed = {case for ids in parts.values() for case in ids}
    twin = dataset.twin_cases(root)
    owner, expected = (name, listed) if twin is None else ("the twin's card", set(twin))
    missing = sorted(expected - patients.keys())
    if missing:
        message = f"{owner} has {len(missing)} cases that are not there: {', '.join(missing[:5])}"
        remedy = "Restore them, or exclude them by name."
        found.add("error", "case_of_split_missing", "", where, message, remedy)
    if not parts:
        return
    for case in sorted(patients.keys() - listed):
        message = f"is in no part of {name} and is not used"
        found.add("warning", "case_in_no_split", case, where, message, "Check its id.")
    home: dict[str, str] = {}
    for part, ids in parts.items():
        for case in ids:
            patient = patients.get(case)
            if patient and home.setdefault(patient, part) != part:
                message = f"patient {patient} is in {home[patient]} and in {part}"
                found.add("error", "patient_in_two_parts", case, where, message, "Correct the split.")


def _stray_files(cases: Sequence[Case], found: CheckReport) -> None:
    """Name the files beside those of the cases that belong to none, such as images without labels."""
    used = {path.resolve() for case in cases for path in case.sources}
    for folder in sorted({path.parent for path in used if path.parent.is_dir()}):
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.resolve() not in used:
                if path.name.startswith(".") or path.name.endswith(_BESIDE):
                    continue
                message = "belongs to no case: it has no partner, or no listing names it"
                found.add("warning", "stray_file", "", path, message, "Remove it, or restore its partner.")
