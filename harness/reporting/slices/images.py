"""Images of test cases for figures: 8-bit copies that are stored once per study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.data.numbering import IGNORE
from harness.errors import UserError
from harness.files.whole import whole
from harness.records.schema import safe_name


@dataclass(frozen=True)
class CaseImage:
    """A case on its native grid.

    Attributes:
        image: ``(X, Y, Z)`` uint8, the first channel.
        label: ``(X, Y, Z)`` in the files' numbers, without ignored voxels.
        affine: ``(4, 4)``, voxel indices to millimetres in RAS.
        ignored: ``(X, Y, Z)``, where nobody has labelled a voxel; None where the dataset declares no such voxels.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.unsignedinteger]
    affine: NDArray[np.float64]
    ignored: NDArray[np.bool_] | None = None


def case_image(
    study_folder: Path, dataset_name: str, case_id: str, data_root: Path | None
) -> CaseImage | str:
    """Return a test case's image and label, or the reason why there is none.

    The study's own copy, ``<study>/images/<dataset>/<case>.npz``, is read where it is there; otherwise the
    dataset is read, and the copy stored.
    """
    copy = study_folder / "images" / safe_name(dataset_name) / f"{safe_name(case_id)}.npz"
    if copy.is_file():
        try:
            with np.load(copy) as arrays:
                return CaseImage(arrays["image"], arrays["label"], arrays["affine"], arrays.get("ignored"))
        except (OSError, ValueError, KeyError, BadZipFile):
            pass  # a broken copy is made again
    try:
        dataset: Dataset = registry.load("dataset", dataset_name)()
        case = next((case for case in dataset.cases(data_root) if case.id == case_id), None)
        if case is None:
            return f"dataset {dataset_name} has no case {case_id} any more"
        image, label = dataset.image(case), dataset.training_label(case)
    except UserError as error:
        return str(error)
    ignored = None if dataset.ignore is None else label.array == IGNORE
    labels = dataset.to_file(label.array if ignored is None else np.where(ignored, np.uint8(0), label.array))
    found = CaseImage(to_8_bit(image.array[0], labels), labels, label.affine, ignored)
    _store(copy, found)
    return found


def to_8_bit(image: NDArray[Any], label: NDArray[Any]) -> NDArray[np.uint8]:
    """Return ``image`` windowed to 0..255: the 1st to 99th percentile within the labels' bounding box.

    Args:
        image: ``(X, Y, Z)``.
        label: ``(X, Y, Z)``; where it is empty the whole image counts.
    """
    filled = np.argwhere(label)
    box = image
    if len(filled):
        low, high = filled.min(axis=0), filled.max(axis=0) + 1
        box = image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    bottom, top = np.percentile(box, (1, 99))
    scaled = (image.astype(np.float64) - bottom) / max(float(top - bottom), 1e-9)
    return np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _store(path: Path, found: CaseImage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial, partial.open("wb") as file:
        arrays: dict[str, Any] = {"image": found.image, "label": found.label, "affine": found.affine}
        if found.ignored is not None:
            arrays["ignored"] = found.ignored
        np.savez_compressed(file, **arrays)
