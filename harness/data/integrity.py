"""Everything that is wrong with a dataset on disk, found in one run.

``error``: training or scoring would fail, or its numbers would be wrong. ``warning``: look at it. ``fixed``: the
harness puts it right by itself.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from harness.data.datasets.contract import Case, Dataset
from harness.data.layouts import SUFFIXES, read_folders
from harness.data.nifti import label_values
from harness.data.splits import shipped_split
from harness.errors import UserError

Level = Literal["error", "warning", "fixed"]
_NOISE = 0.01  # of a voxel: what writers round
_SCALES = 30.0  # between the intensities of two cases, above which they have no common scale
_ODD = 3.0  # between a spacing or shape and the dataset's median


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        level: how bad it is.
        code: what it is, for scripts.
        case: whose it is; empty where it is the dataset's.
        file: the file or folder.
        message: what was found and what was expected.
        remedy: what to do.
    """

    level: Level
    code: str
    case: str
    file: str
    message: str
    remedy: str


@dataclass
class Check:
    """What was found in a dataset, and what its cases look like."""

    cases: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: Level, code: str, case: str, file: object, message: str, remedy: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(level, code, case, str(file), message, remedy))

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.level == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return what ``medctx data check --json`` prints."""
        return {"cases": self.cases, "findings": [asdict(finding) for finding in self.findings]}


@dataclass(frozen=True)
class _Facts:
    """What is compared between cases."""

    case: str
    file: Path
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    orientation: str
    level: float
    labels: frozenset[int]
    image_hash: str
    label_hash: str


def check_dataset(
    dataset: Dataset, root: Path | None, tick: Callable[[int, int], None] = lambda done, planned: None
) -> Check:
    """Read every file of a dataset and return all findings.

    Args:
        dataset: what to expect.
        root: data root.
        tick: told how many cases were read, of how many.
    """
    found = Check()
    try:
        cases = dataset.cases(root)
    except UserError as error:
        code = "missing_file" if error.found == "no such file" else "listing"
        message = f"{error.found}; expected {error.expected}"
        found.add("error", code, "", error.where, message, error.remedy)
        cases = _cases_in_folders(dataset, root)  # so that the rest is checked too
        if not cases:
            return found
    found.cases = len(cases)
    facts = []
    for index, case in enumerate(cases):
        facts += [one for one in [_check_case(dataset, case, found)] if one]
        tick(index + 1, len(cases))
    _compare(dataset, facts, found)
    _check_split(dataset, cases, root, found)
    _stray_files(cases, found)
    return found


def _cases_in_folders(dataset: Dataset, root: Path | None) -> list[Case]:
    """Return the cases of which there are files, whatever a listing says."""
    try:
        place = dataset.place(root)[1]
        files = read_folders(place)
    except UserError:
        return []
    return [Case(one.id, dataset.patient(one.id), one.images[0], one.label, one.images[1:]) for one in files]


def _check_case(dataset: Dataset, case: Case, found: Check) -> _Facts | None:
    """Check the files of one case, and return what is compared with the others."""
    if case.image is None or case.label is None:  # a dataset that makes its volumes
        return None
    opened = [_open(case, path, found) for path in case.files]
    volumes = [volume for volume in opened if volume is not None]
    if len(volumes) < len(opened):
        return None
    *images, label = volumes
    values = _check_labels(dataset, case, label.array, found)
    for path, image in zip((case.image, *case.channels), images, strict=True):
        _check_image(dataset, case, path, image.array, found)
        _check_grid(case, path, image, label, found)
    first = images[0]
    finite = first.array[np.isfinite(first.array)] if first.array.dtype.kind == "f" else first.array
    return _Facts(
        case.id,
        case.image,
        tuple(np.round(first.spacing, 4).tolist()),
        first.array.shape[:3],
        "".join(nibabel.aff2axcodes(first.affine)),
        float(np.percentile(np.abs(finite), 99)) if finite.size else 0.0,
        values,
        _hash(first.array),
        _hash(label.array),
    )


@dataclass(frozen=True)
class _Raw:
    array: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> NDArray[np.float64]:
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))


def _open(case: Case, path: Path, found: Check) -> _Raw | None:
    """Return a file's array and affine, or None and a finding."""
    refetch = "Fetch the file again, or exclude the case."
    try:
        content = path.read_bytes()
    except OSError as error:
        code = "missing_file" if isinstance(error, FileNotFoundError) else "unreadable_file"
        found.add("error", code, case.id, path, f"cannot be read: {error.strerror}", refetch)
        return None
    if not content:
        found.add("error", "empty_file", case.id, path, "has no bytes", refetch)
        return None
    try:
        if path.name.endswith(".gz"):
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        truncated = isinstance(error, EOFError)
        code = "truncated_gzip" if truncated else "damaged_gzip"
        found.add(
            "error",
            code,
            case.id,
            path,
            f"gzip is {'cut short' if truncated else f'damaged ({error})'}",
            refetch,
        )
        return None
    try:
        second = 540 in (int.from_bytes(content[:4], order) for order in ("little", "big"))
        file: Any = (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_bytes(content)
        array = np.asanyarray(file.dataobj)
    except Exception as error:  # whatever a damaged header leads to
        found.add("error", "not_nifti", case.id, path, f"is no complete NIfTI file ({error})", refetch)
        return None
    affine = np.asarray(file.affine, np.float64)
    if array.dtype.kind not in "biuf":
        found.add(
            "error", "voxel_type", case.id, path, f"has voxels of type {array.dtype}", "Convert the file."
        )
        return None
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        message = f"has the affine {affine[:3].tolist()}, which gives no grid"
        found.add("error", "singular_affine", case.id, path, message, "Correct the header.")
        return None
    if not file.header["sform_code"] and not file.header["qform_code"]:
        message = "states no position (sform and qform codes are 0); voxel sizes alone are used"
        found.add("warning", "no_orientation", case.id, path, message, "Check left and right by eye.")
    if array.ndim < 3 or min(array.shape[:3]) < 2:
        message = f"has shape {array.shape}, not that of a volume"
        found.add("error", "not_a_volume", case.id, path, message, "Replace the file, or exclude the case.")
        return None
    return _Raw(array, affine)


def _check_labels(dataset: Dataset, case: Case, labels: NDArray[Any], found: Check) -> frozenset[int]:
    path, exclude = case.label, "Correct the file, or exclude the case."
    if labels.ndim == 4 and labels.shape[3] == 1:
        labels = labels[..., 0]
    if labels.ndim != 3:
        found.add(
            "error", "label_dimensions", case.id, path, f"has shape {labels.shape}, not three axes", exclude
        )
        return frozenset()
    values = label_values(labels)
    broken = [value for value in values if value != value or value != int(value)]
    if broken:
        message = f"has values that are no whole numbers, such as {broken[0]}"
        found.add(
            "error", "label_not_integer", case.id, path, message, "Resample labels by the nearest voxel."
        )
        return frozenset()
    present = frozenset(int(value) for value in values)
    unexpected = sorted(present - set(dataset.labels))
    if unexpected:
        message = f"has labels {unexpected}; expected {sorted(dataset.labels)}"
        found.add("error", "unexpected_label", case.id, path, message, exclude)
    if not present - {0}:
        found.add("error", "empty_foreground", case.id, path, "has no labelled voxel", exclude)
    elif 0 not in present:
        found.add("warning", "no_background", case.id, path, "has no background voxel", "Look at the case.")
    if labels.dtype.kind == "f":
        message = f"stores whole numbers as {labels.dtype}; they are read as labels"
        found.add("fixed", "label_stored_as_float", case.id, path, message, "Nothing has to be done.")
    return present


def _check_image(dataset: Dataset, case: Case, path: Path, image: NDArray[Any], found: Check) -> None:
    exclude, wanted = "Repair or exclude the case.", 1 if case.channels else len(dataset.channels)
    channels = image.shape[3] if image.ndim == 4 else 1
    if image.ndim > 4 or channels != wanted:
        code = "unexpected_4d" if wanted == 1 else "channel_count"
        message = f"has shape {image.shape}; expected {wanted} channel(s)"
        found.add(
            "error", code, case.id, path, message, "Take the volume out of the series, or exclude the case."
        )
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        for code, bad in (("nan", np.isnan(image)), ("infinity", np.isinf(image))):
            if bad.any():
                found.add("error", code, case.id, path, f"has {int(bad.sum())} voxels of {code}", exclude)
    elif float(image.min()) == float(image.max()):
        found.add("error", "constant_image", case.id, path, f"is {image.flat[0]} everywhere", exclude)


def _check_grid(case: Case, path: Path, image: _Raw, label: _Raw, found: Check) -> None:
    """Compare the grids of image and labels; rounding is told apart from another place."""
    exclude = "Correct the file, or exclude the case."
    shape = label.array.shape[:3]
    if image.array.shape[:3] != shape:
        message = f"has labels of shape {shape} for an image of shape {image.array.shape[:3]}"
        found.add("error", "shape_mismatch", case.id, case.label, message, exclude)
        return
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])])
    apart = float(np.linalg.norm(corners @ (image.affine - label.affine).T, axis=1).max())
    if apart > _NOISE * float(min(image.spacing)):
        message = f"lies {apart:.3g} mm away from its image {path.name}"
        found.add("error", "affine_mismatch", case.id, case.label, message, exclude)
    elif apart > 1e-5:
        message = f"lies {apart:.1g} mm away from its image, within rounding; the image's place is used"
        found.add("fixed", "affine_noise", case.id, case.label, message, "Nothing has to be done.")


def _compare(dataset: Dataset, facts: Sequence[_Facts], found: Check) -> None:
    """Compare the cases with each other."""
    if not facts:
        return
    for code, hashes, what in (
        ("duplicate_image", [one.image_hash for one in facts], "the same voxels as"),
        ("duplicate_label", [one.label_hash for one in facts], "the same labels as"),
    ):
        first: dict[str, _Facts] = {}
        for one, content in zip(facts, hashes, strict=True):
            if content in first:
                message = f"has {what} case {first[content].case}"
                found.add("error", code, one.case, one.file, message, "Exclude one of the two cases.")
            first.setdefault(content, one)
    present = Counter(value for one in facts for value in one.labels)
    for value, name in dataset.labels.items():
        if value and not present[value]:
            message = f"label {value} ({name}) is in no case"
            found.add(
                "error", "label_in_no_case", "", facts[0].file.parent, message, "Check the label's number."
            )
        elif value and present[value] < len(facts):
            for one in facts:
                if value not in one.labels and one.labels - {0}:
                    message = f"lacks label {value} ({name}), which {present[value]} cases have"
                    found.add(
                        "warning", "absent_label", one.case, one.file, message, "Check whether it is so."
                    )
    usual = Counter(one.orientation for one in facts).most_common(1)[0][0]
    middle = (
        np.median([one.spacing for one in facts], axis=0),
        np.median([one.shape for one in facts], axis=0),
    )
    for one in facts:
        if one.orientation != usual:
            message = f"has orientation {one.orientation}, others {usual}; both are turned to RAS"
            found.add(
                "fixed", "other_orientation", one.case, one.file, message, "Check left and right by eye."
            )
        for code, own, typical in (
            ("odd_spacing", one.spacing, middle[0]),
            ("odd_shape", one.shape, middle[1]),
        ):
            ratio = np.maximum(np.array(own) / typical, typical / np.array(own)).max()
            if ratio > _ODD:
                message = f"has {code[4:]} {list(own)}, the median is {np.round(typical, 3).tolist()}"
                found.add("warning", code, one.case, one.file, message, "Look at the case.")
    levels = sorted((one.level, one.case) for one in facts if one.level > 0)
    if levels and levels[-1][0] > _SCALES * levels[0][0]:
        message = (
            f"99th percentiles of intensity go from {levels[0][0]:.3g} ({levels[0][1]}) to {levels[-1][0]:.3g} "
            f"({levels[-1][1]}): there is no common scale"
        )
        remedy = "Normalise each volume by itself, as recipe.intensity zscore_clipped does."
        found.add("warning", "intensity_scales", "", facts[0].file.parent, message, remedy)


def _check_split(dataset: Dataset, cases: Sequence[Case], root: Path | None, found: Check) -> None:
    """Compare the cases on disk with the dataset's default split."""
    if not dataset.splits:
        return
    split, patients = (
        shipped_split(dataset.name(), dataset.splits[0]),
        {case.id: case.patient for case in cases},
    )
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    listed = {case for ids in parts.values() for case in ids}
    where = root or ""
    missing = sorted(listed - patients.keys())
    if missing and not dataset.is_twin(root):
        message = (
            f"split {dataset.splits[0]} has {len(missing)} cases that are not there: {', '.join(missing[:5])}"
        )
        found.add(
            "error", "case_of_split_missing", "", where, message, "Restore them, or exclude them by name."
        )
    for case in sorted(patients.keys() - listed):
        message = f"is in no part of split {dataset.splits[0]} and is not used"
        found.add("warning", "case_in_no_split", case, where, message, "Check its id.")
    home: dict[str, str] = {}
    for part, ids in parts.items():
        for case in ids:
            patient = patients.get(case)
            if patient and home.setdefault(patient, part) != part:
                message = f"patient {patient} is in {home[patient]} and in {part}"
                found.add("error", "patient_in_two_parts", case, where, message, "Correct the split.")


def _stray_files(cases: Sequence[Case], found: Check) -> None:
    """Name NIfTI files beside those of the cases that belong to none, such as images without labels."""
    used = {path.resolve() for case in cases for path in case.files}
    for folder in sorted({path.parent for path in used}):
        for path in sorted(folder.iterdir()):
            if path.name.endswith(SUFFIXES) and not path.name.startswith(".") and path.resolve() not in used:
                if path.name.endswith(("_4d.nii.gz", "_4d.nii")):  # ACDC's whole series
                    continue
                message = "belongs to no case: it has no partner, or no listing names it"
                found.add("warning", "stray_file", "", path, message, "Remove it, or restore its partner.")


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.tobytes("A")).hexdigest()
