"""What is wrong with the files of one case, and what the case looks like."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from harness.data.check_report import CaseFacts, CheckReport, Level
from harness.data.datasets.contract import Case, Dataset
from harness.data.nifti import label_values, nifti_image
from harness.data.volume import Volume, corner_distance

_NOISE = 0.01  # of a voxel: what writers round
_SKEW = 0.01  # cosine between two axes, above which they are not perpendicular
_UNITS = {0: "no unit", 1: "metres", 2: "mm", 3: "micrometres"}  # NIfTI's codes of the unit of space
_EXCLUDE = "Correct the file, or exclude the case."
_REFETCH = "Fetch the file again, or exclude the case."
_NOTHING = "Nothing has to be done."


class _StoredVolume(Volume):
    """A volume as it is stored, channels last."""

    @property
    def channels(self) -> Sequence[NDArray[Any]]:
        return [self.array] if self.array.ndim == 3 else list(np.moveaxis(self.array, 3, 0))


@dataclass(frozen=True)
class _Notes:
    """Takes the findings of one file."""

    found: CheckReport
    case: str
    file: object

    def add(self, level: Level, code: str, message: str, remedy: str) -> None:
        self.found.add(level, code, self.case, self.file, message, remedy)

    def error(self, code: str, message: str, remedy: str = _EXCLUDE) -> None:
        self.add("error", code, message, remedy)


def check_case(dataset: Dataset, case: Case, found: CheckReport) -> CaseFacts | None:
    """Note what is wrong with a case; return what it looks like, or None where a file cannot be read."""
    notes = [_Notes(found, case.id, file) for file in case.files or (case.id, case.id)]
    if case.files:
        volumes = [_open(path, own) for path, own in zip(case.files, notes, strict=True)]
    else:  # a dataset that makes its volumes
        whole, made = dataset.image(case), dataset.label(case)
        volumes = [
            _StoredVolume(np.moveaxis(whole.array, 0, -1), whole.affine),
            _StoredVolume(made.array, made.affine),
        ]
    readable = [volume for volume in volumes if volume is not None]
    if len(readable) < len(volumes):
        return None
    *notes, notes_on_label = notes
    *images, label = readable
    volumes_of_labels = _check_labels(dataset, label, notes_on_label)
    for own, image in zip(notes, images, strict=True):
        _check_image(image.array, 1 if case.channels else len(dataset.channels), own)
        _check_grid(image, label, own.file, notes_on_label)
    hashes = [_hash(channel) for image in images for channel in image.channels]
    _check_channels(dataset.channels, hashes, notes[0])
    return _facts(case, images[0], label, volumes_of_labels, hashes)


def _facts(
    case: Case, image: _StoredVolume, label: _StoredVolume, volumes: dict[int, float], hashes: Sequence[str]
) -> CaseFacts:
    first = image.channels[0]
    finite = first[np.isfinite(first)] if first.dtype.kind == "f" else first
    return CaseFacts(
        case=case,
        spacing=tuple(np.round(image.spacing, 4).tolist()),
        shape=first.shape,
        orientation="".join(nibabel.aff2axcodes(image.affine)),
        voxels=str(image.array.dtype),
        level=float(np.percentile(np.abs(finite), 99)) if finite.size else 0.0,
        volumes=volumes,
        image_hash="".join(hashes),
        label_hash=_hash(label.array),
    )


def _open(path: Path, notes: _Notes) -> _StoredVolume | None:
    """Return a file's array and affine, or None and a finding."""
    try:
        content = path.read_bytes()
    except OSError as error:
        code = "missing_file" if isinstance(error, FileNotFoundError) else "unreadable_file"
        notes.error(code, f"cannot be read: {error.strerror}", _REFETCH)
        return None
    if not content:
        notes.error("empty_file", "has no bytes", _REFETCH)
        return None
    try:
        if path.name.endswith(".gz"):
            content = gzip.decompress(content)
    except EOFError:
        notes.error("truncated_gzip", "gzip is cut short", _REFETCH)
        return None
    except (zlib.error, gzip.BadGzipFile) as error:
        notes.error("damaged_gzip", f"gzip is damaged ({error})", _REFETCH)
        return None
    try:
        file = nifti_image(content)
        array = np.asanyarray(file.dataobj)
    except Exception as error:  # whatever a damaged header leads to
        notes.error("not_nifti", f"is no complete NIfTI file ({error})", _REFETCH)
        return None
    affine = np.asarray(file.affine, np.float64)
    if array.dtype.kind not in "biuf":
        notes.error("voxel_type", f"has voxels of type {array.dtype}", "Convert the file.")
        return None
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        message = f"has the affine {affine[:3].tolist()}, which gives no grid"
        notes.error("singular_affine", message, "Correct the header.")
        return None
    if array.ndim < 3 or min(array.shape[:3]) < 2:
        message = f"has shape {array.shape}, not that of a volume"
        notes.error("not_a_volume", message, "Replace the file, or exclude the case.")
        return None
    volume = _StoredVolume(array, affine)
    _check_header(file, volume, notes)
    return volume


def _check_header(file: Any, volume: _StoredVolume, notes: _Notes) -> None:
    """Note what a header says of a volume's place that may be understood in two ways."""
    look = "Check left and right by eye."
    sform, qform = file.header.get_sform(coded=True)[0], file.header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        message = "states no position (sform and qform codes are 0); voxel sizes alone are used"
        notes.add("warning", "no_orientation", message, look)
    elif sform is not None and qform is not None:
        apart = corner_distance(sform, qform, volume.array.shape)
        if apart > _NOISE * min(volume.spacing):
            message = f"states two positions {apart:.3g} mm apart (sform and qform); the sform is used"
            notes.add("warning", "two_positions", message, look)
    unit = int(file.header["xyzt_units"]) & 7
    if unit not in (0, 2):
        message = f"gives voxel sizes in {_UNITS.get(unit, f'unit {unit}')}; they are read as mm"
        notes.add("warning", "unit", message, "Correct the header.")
    axes = volume.affine[:3, :3] / volume.spacing
    skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if skew > _SKEW:
        message = f"has axes that are not perpendicular (cosine {skew:.2g}); distances in it are wrong"
        notes.add("warning", "skewed_axes", message, "Resample the case to a grid of right angles.")


def _check_labels(dataset: Dataset, label: _StoredVolume, notes: _Notes) -> dict[int, float]:
    """Return the millilitres of each label; none where they are no labels."""
    labels = label.array
    if labels.ndim == 4 and labels.shape[3] == 1:
        labels = labels[..., 0]
    if labels.ndim != 3:
        notes.error("label_dimensions", f"has shape {labels.shape}, not three axes")
        return {}
    values = label_values(labels)
    broken = [value for value in values if value != value or value != int(value)]
    if broken:
        message = f"has values that are no whole numbers, such as {broken[0]}"
        notes.error("label_not_integer", message, "Resample labels by the nearest voxel.")
        return {}
    present = {int(value) for value in values}
    unexpected = sorted(present - set(dataset.labels))
    if unexpected:
        notes.error("unexpected_label", f"has labels {unexpected}; expected {sorted(dataset.labels)}")
    if not present - {0}:
        notes.error("empty_foreground", "has no labelled voxel")
    elif 0 not in present:
        notes.add("warning", "no_background", "has no background voxel", "Look at the case.")
    if labels.dtype.kind == "f":
        message = f"stores whole numbers as {labels.dtype}; they are read as labels"
        notes.add("fixed", "label_stored_as_float", message, _NOTHING)
    millilitres = abs(float(np.linalg.det(label.affine[:3, :3]))) / 1000
    return {value: int((labels == value).sum()) * millilitres for value in sorted(present)}


def _check_image(image: NDArray[Any], wanted: int, notes: _Notes) -> None:
    exclude = "Repair or exclude the case."
    channels = image.shape[3] if image.ndim == 4 else 1
    if image.ndim > 4 or channels != wanted:
        code = "unexpected_4d" if wanted == 1 else "channel_count"
        message = f"has shape {image.shape}; expected {wanted} channel(s)"
        notes.error(code, message, "Take the volume out of the series, or exclude the case.")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        for code, bad in (("nan", np.isnan(image)), ("infinity", np.isinf(image))):
            if bad.any():
                notes.error(code, f"has {int(bad.sum())} voxels of {code}", exclude)
    elif float(image.min()) == float(image.max()):
        notes.error("constant_image", f"is {image.flat[0]} everywhere", exclude)


def _check_channels(names: Sequence[str], hashes: Sequence[str], notes: _Notes) -> None:
    """Note channels that are copies of each other."""
    for index, content in enumerate(hashes):
        first = hashes.index(content)
        if first < index < len(names):
            message = f"has the same voxels as channel {names[index]} and as channel {names[first]}"
            notes.error("duplicate_channel", message, "Restore the channel, or exclude the case.")


def _check_grid(image: _StoredVolume, label: _StoredVolume, of: object, notes: _Notes) -> None:
    """Compare the grids of image and labels; rounding is told apart from another place."""
    shape = label.array.shape[:3]
    if image.array.shape[:3] != shape:
        message = f"has labels of shape {shape} for an image of shape {image.array.shape[:3]}"
        notes.error("shape_mismatch", message)
        return
    apart = corner_distance(image.affine, label.affine, shape)
    if apart > _NOISE * min(image.spacing):
        notes.error("affine_mismatch", f"lies {apart:.3g} mm away from its image {Path(str(of)).name}")
    elif apart > 1e-5:
        message = f"lies {apart:.1g} mm away from its image, within rounding; the image's place is used"
        notes.add("fixed", "affine_noise", message, _NOTHING)


def _hash(array: NDArray[Any]) -> str:
    """Return a hash of shape and values, whatever type they are stored as."""
    values = np.ascontiguousarray(np.asarray(array, np.float32).T)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
