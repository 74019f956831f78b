"""Which cases and slices a qualitative figure shows, and the arrays to draw: no plotting here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness import registry
from harness.data.nifti import read_label
from harness.errors import UserError
from harness.report.estimates import STUDENT, ranked_cases
from harness.report.frames import records, trial_folder
from harness.report.images import CaseImage, case_image
from harness.report.wording import UNSET, value_text

MOST_ARMS = 6
_ANY_LABEL = range(256)


@dataclass(frozen=True)
class Panel:
    """One picture: ``image`` ``(rows, columns)`` uint8 and ``label`` of the same shape, or None."""

    image: NDArray[np.uint8]
    label: NDArray[np.uint8] | None
    note: str = ""


@dataclass(frozen=True)
class CaseRow:
    """The pictures of one case; ``aspect`` is a pixel's height over its width."""

    title: str
    aspect: float
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Gallery:
    """A qualitative figure: ``columns`` are titles, ``labels`` name the label values."""

    columns: tuple[str, ...]
    rows: tuple[CaseRow, ...]
    labels: Mapping[int, str]
    caption: str


def gallery(
    trials: pd.DataFrame,
    cases: pd.DataFrame,
    baseline: str,
    results: Path,
    study_folder: Path,
    data_root: Path | None,
) -> Gallery | str:
    """Return what the qualitative figure of one dataset shows, or why there can be none.

    Args:
        trials: of ``trial_frame``, of one dataset, with the column ``arm``.
        cases: of ``case_frame``.
        baseline: the method that the choice of cases rests on; the first arm where it has no complete trial.
        results: the results folder.
        study_folder: where copies of images lie.
        data_root: where the dataset lies, if it does.
    """
    done = trials[trials["status"] == "complete"].sort_values("seed", kind="stable")
    if not len(done):
        return "no trial is complete"
    chosen = _first_shots(done)
    arms = records(chosen.drop_duplicates(["architecture", "arm"]))
    reference = next((row for row in arms if row["method"] == baseline), arms[0])
    kept = [row for row in arms if (trial_folder(results, row["id"]) / "predictions").is_dir()]
    if not kept:
        return "no predictions were kept"
    ranked = ranked_cases(cases, reference["id"])
    if not len(ranked):
        return "no case has a Dice value"
    dice = {row["id"]: ranked_cases(cases, row["id"]) for row in kept}
    rows = []
    for title, case in _picked(ranked).items():
        image = case_image(study_folder, reference["dataset"], case, data_root)
        if isinstance(image, str):
            return f"no image of case {case}: {image}"
        predictions = {row["id"]: _prediction(results, row["id"], case) for row in kept[:MOST_ARMS]}
        notes = {
            id: f"Dice {100 * dice[id][case]:.1f} %" if case in dice[id] else UNSET for id in predictions
        }
        rows.append(_case_row(f"{title}: {case}", image, predictions, notes))
    many = len({row["architecture"] for row in kept}) > 1
    names = [f"{row['architecture']}\n{row['arm']}" if many else row["arm"] for row in kept[:MOST_ARMS]]
    return Gallery(
        columns=("Image", "Reference", *names),
        rows=tuple(rows),
        labels=_label_names(reference["dataset"]),
        caption=_caption(reference, len(kept)),
    )


def _first_shots(done: pd.DataFrame) -> pd.DataFrame:
    return done[[value == done["shots"].iloc[0] for value in done["shots"]]]


def _picked(ranked: pd.Series) -> dict[str, str]:
    """Return the median case (the lower one of two) and the worst one, if it is another."""
    ids = [str(case) for case in ranked.index]
    picked = {"Median": ids[(len(ids) - 1) // 2]}
    if ids[0] != picked["Median"]:
        picked["Worst"] = ids[0]
    return picked


def _prediction(results: Path, trial_id: str, case: str) -> NDArray[np.uint8] | None:
    path = trial_folder(results, trial_id) / "predictions" / f"{case}.{STUDENT}.nii.gz"
    try:
        return read_label(path, _ANY_LABEL).array
    except UserError:
        return None


def _case_row(
    title: str,
    case: CaseImage,
    predictions: Mapping[str, NDArray[np.uint8] | None],
    notes: Mapping[str, str],
) -> CaseRow:
    reference, spacing = to_ras(case.label, case.affine)
    slice_index = fullest_slice(reference)
    image = _axial(to_ras(case.image, case.affine)[0], slice_index)
    panels = [Panel(image, None), Panel(image, _axial(reference, slice_index))]
    for trial_id, prediction in predictions.items():
        if prediction is None or prediction.shape != case.label.shape:
            panels.append(Panel(image, None, "not kept"))
            continue
        label = _axial(to_ras(prediction, case.affine)[0], slice_index)
        panels.append(Panel(image, label, notes[trial_id]))
    return CaseRow(title, spacing[1] / spacing[0], tuple(panels))


def to_ras(
    array: NDArray[np.uint8], affine: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    """Return ``array`` ``(X, Y, Z)`` with axes to the right, anterior and superior, and its spacing, mm."""
    orientation = orientations.io_orientation(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = spacing[np.argsort(orientation[:, 0])].tolist()
    return np.asarray(orientations.apply_orientation(array, orientation)), (x, y, z)


def fullest_slice(label: NDArray[np.uint8]) -> int:
    """Return the index along the last axis with most labelled voxels; the middle where there are none."""
    counts = (label > 0).sum(axis=(0, 1))
    return int(counts.argmax()) if counts.any() else label.shape[2] // 2


def _axial(volume: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Return a slice with anterior at the top and the patient's right on the left."""
    return volume[::-1, ::-1, index].T


def _label_names(dataset: str) -> dict[int, str]:
    try:
        labels = getattr(registry.load("dataset", dataset), "labels", {})  # of a folder: in its files
    except UserError:
        return {}
    return {int(value): str(name) for value, name in labels.items() if value != 0}


def _caption(reference: Mapping[str, Any], arms: int) -> str:
    text = (
        f"Cases by rule: median and lowest mean Dice of the student of {reference['arm']} on "
        f"{reference['architecture']}, seed {value_text(reference['seed'])}, "
        f"{value_text(reference['shots'])} shots. Axial slice with most labelled voxels in the reference; the "
        "patient's right is on the left. Students of each arm's lowest seed; Dice is the mean over regions of "
        "the whole case."
    )
    return text + (f" The first {MOST_ARMS} of {arms} arms are shown." if arms > MOST_ARMS else "")
