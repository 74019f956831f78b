"""What is wrong with the files of one case, and what the case looks like."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from harness.data.check_file import NOTHING, Notes, open_file
from harness.data.check_report import CaseFacts, CheckReport
from harness.data.datasets.contract import Case, Dataset
from harness.data.grid_rules import grid_fault, grid_shape, place_distance, turned_to
from harness.data.layouts import channel_fault
from harness.data.nifti import label_values, rounded_labels
from harness.data.volume import StoredVolume, Volume


def check_case(dataset: Dataset, case: Case, found: CheckReport) -> CaseFacts | None:
    """Note what is wrong with a case; return what it looks like, or None where a file cannot be read."""
    notes = [Notes(found, case.id, file) for file in case.files or (case.id, case.id)]
    fault = channel_fault(case.id, (case.image, *case.channels), dataset.channels) if case.image else None
    if fault is not None:
        message = f"has {fault[0]}; expected {fault[1]}"
        notes[0].error("channel_count", message, "Restore the files, or exclude the case.")
    if case.files:
        volumes = [open_file(path, own) for path, own in zip(case.files, notes, strict=True)]
    else:  # a dataset that makes its volumes
        whole, made = dataset.image(case), dataset.label(case)
        volumes = [
            StoredVolume(np.moveaxis(whole.array, 0, -1), whole.affine, whole.zooms),
            StoredVolume(made.array, made.affine, made.zooms),
        ]
    readable = [volume for volume in volumes if volume is not None]
    if len(readable) < len(volumes):
        return None
    *notes, notes_on_label = notes
    *images, stored = readable
    for own, image in zip(notes, images, strict=True):
        _check_image(image.array, 1 if case.channels or fault else len(dataset.channels), own)
    first, *others = [replace(image, array=_channels_first(image.array)) for image in images]
    name = Path(str(notes[0].file)).name
    on_grid = [_on_grid(other, first, name, own) for own, other in zip(notes[1:], others, strict=True)]
    hashes = [_hash(channel) for image in (first, *on_grid) for channel in image.array]
    _check_channels(dataset.channels, hashes, notes[0])
    label = _label_map(stored, notes_on_label)
    if label is None:
        return _facts(case, first, images[0], {}, hashes, stored)
    volumes_of_labels = _check_labels(dataset, label, stored, notes_on_label)
    return _facts(
        case, first, images[0], volumes_of_labels, hashes, _on_grid(label, first, name, notes_on_label)
    )


def _facts(
    case: Case,
    image: Volume,
    stored: StoredVolume,
    volumes: dict[int, float],
    hashes: Sequence[str],
    label: Volume,
) -> CaseFacts:
    first = image.array[0]
    finite = first[np.isfinite(first)] if first.dtype.kind == "f" else first
    return CaseFacts(
        case=case,
        spacing=tuple(np.round(image.spacing, 4).tolist()),
        shape=grid_shape(image),
        orientation="".join(nibabel.aff2axcodes(image.affine)),
        voxels=str(stored.array.dtype),
        level=float(np.percentile(np.abs(finite), 99)) if finite.size else 0.0,
        volumes=volumes,
        image_hash="".join(hashes),
        label_hash=_hash(label.array),
    )


def _channels_first(array: NDArray[Any]) -> NDArray[Any]:
    """Return an image ``(C, X, Y, Z)``; of a fifth axis and more, all are channels."""
    return array[None] if array.ndim == 3 else np.moveaxis(array.reshape(*array.shape[:3], -1), 3, 0)


def _label_map(stored: StoredVolume, notes: Notes) -> Volume | None:
    """Return labels ``(X, Y, Z)``, or None and a finding; what a header's scale has made of them is rounded."""
    labels = stored.array
    if labels.ndim == 4 and labels.shape[3] == 1:
        labels = labels[..., 0]
    if labels.ndim != 3:
        notes.error("label_dimensions", f"has shape {labels.shape}, not three axes")
        return None
    whole = rounded_labels(labels, stored.half_step)
    changed = whole != labels
    if whole is not labels and changed.any():
        message = (
            f"has labels such as {labels[changed][0]:.9g} by its header's scale (scl_slope); they are rounded"
        )
        notes.add("fixed", "label_scaled", message, NOTHING)
    return Volume(whole, stored.affine, stored.zooms)


def _check_labels(dataset: Dataset, label: Volume, stored: StoredVolume, notes: Notes) -> dict[int, float]:
    """Return the millilitres of each label; none where they are no labels."""
    labels = label.array
    values = label_values(labels)
    broken = [value for value in values if value != value or value != int(value)]
    if broken:
        message = f"has values that are no whole numbers, such as {broken[0]}"
        scaled = "Its header scales what it stores (scl_slope): write labels without a scale."
        notes.error(
            "label_not_integer",
            message,
            scaled if stored.half_step else "Resample labels by the nearest voxel.",
        )
        return {}
    present = {int(value) for value in values}
    expected = dataset.file_labels()
    unexpected = sorted(present - set(expected))
    if unexpected:
        known = [remedy for value, remedy in dataset.other_numbering.items() if value in unexpected]
        message = f"has labels {unexpected}; expected {sorted(expected)}"
        notes.error("unexpected_label", message, *known[:1])
    present.discard(-1 if dataset.ignore is None else dataset.ignore)
    if present and 0 not in present:
        notes.add("warning", "no_background", "has no background voxel", "Look at the case.")
    if labels.dtype.kind == "f" and not stored.half_step:
        message = f"stores whole numbers as {labels.dtype}; they are read as labels"
        notes.add("fixed", "label_stored_as_float", message, NOTHING)
    millilitres = abs(float(np.linalg.det(label.affine[:3, :3]))) / 1000
    return {value: int((labels == value).sum()) * millilitres for value in sorted(present)}


def _check_image(image: NDArray[Any], wanted: int, notes: Notes) -> None:
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


def _check_channels(names: Sequence[str], hashes: Sequence[str], notes: Notes) -> None:
    """Note channels that are copies of each other."""
    for index, content in enumerate(hashes):
        first = hashes.index(content)
        if first < index < len(names):
            message = f"has the same voxels as channel {names[index]} and as channel {names[first]}"
            notes.error("duplicate_channel", message, "Restore the channel, or exclude the case.")


def _on_grid(volume: Volume, image: Volume, name: str, notes: Notes) -> Volume:
    """Return labels or a channel with the axes of the image; rounding is told apart from another place."""
    turned = turned_to(volume, image.affine, grid_shape(image))
    if turned is not volume:
        message = f"has its axes flipped or in another order than {name}, at the same place; they are turned"
        notes.add("fixed", "axes_turned", message, NOTHING)
    fault = grid_fault(turned, image, name)
    if fault is not None:
        notes.error(fault.code, fault.message, fault.remedy)
    elif apart := place_distance(turned, image):
        message = f"lies {apart:.1g} mm away from its image, within rounding; the image's place is used"
        notes.add("fixed", "affine_noise", message, NOTHING)
    return turned


def _hash(array: NDArray[Any]) -> str:
    """Return a hash of shape and values, whatever type they are stored as."""
    values = np.ascontiguousarray(np.asarray(array, np.float32).T)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
