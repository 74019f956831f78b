"""Which cases and slices a qualitative figure shows, and the arrays to draw: no plotting here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness import registry
from harness.data.nifti import read_label
from harness.errors import UserError
from harness.reporting.frames import row_dicts, trial_folder
from harness.reporting.report_data import ReportData, with_arm_names
from harness.reporting.slices.geometry import axial, error_map, fullest_slice, to_ras, zoom_box
from harness.reporting.slices.images import CaseImage, case_image
from harness.reporting.statistics.estimates import STUDENT, cases_by_dice
from harness.reporting.wording import UNSET, shots_text, value_text

MOST_ARMS = 6
_ANY_LABEL = range(256)


@dataclass(frozen=True)
class Panel:
    """One picture, arrays ``(rows, columns)`` uint8.

    Attributes:
        image: the slice.
        label: what is drawn over it, if anything.
        reference: the true labels, where errors are shown against them.
        errors: 1 where the reference alone has a label, 2 where the prediction alone has, 3 where they differ.
        note: below the picture.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8] | None = None
    reference: NDArray[np.uint8] | None = None
    errors: NDArray[np.uint8] | None = None
    note: str = ""


@dataclass(frozen=True)
class CaseRow:
    """The pictures of one case.

    Attributes:
        title: the rule that chose the case, and its id.
        aspect: a pixel's height over its width.
        box: top, bottom, left and right of the part that is enlarged, in pixels, ends excluded; of the slice's shape.
        panels: one per column.
    """

    title: str
    aspect: float
    box: tuple[int, int, int, int]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class CaseVolumes:
    """The arrays of one case, ``(X, Y, Z)`` uint8 with axes to the right, anterior and superior.

    Attributes:
        title: the rule that chose the case, and its id.
        spacing: voxel size along each axis, mm.
        image: windowed to 0..255.
        reference: the true labels.
        predictions: labels of each arm, None where they were not kept.
        notes: of each arm.
    """

    title: str
    spacing: tuple[float, float, float]
    image: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    predictions: tuple[NDArray[np.uint8] | None, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Chosen cases: ``columns`` are titles, ``labels`` name the label values."""

    columns: tuple[str, ...]
    volumes: tuple[CaseVolumes, ...]
    labels: Mapping[int, str]
    caption: str

    @cached_property
    def rows(self) -> tuple[CaseRow, ...]:
        """The slice of each case that the figure shows."""
        return tuple(_case_row(case) for case in self.volumes)


def all_galleries(
    results: ReportData, folder: Path, study_folder: Path, data_root: Path | None
) -> dict[str, Gallery | str]:
    """Return the gallery of each dataset of a study, or why there can be none.

    Args:
        results: what the study found.
        folder: the results folder, with ``trials/``.
        study_folder: where copies of images lie.
        data_root: where datasets lie, if they do.
    """
    trials = with_arm_names(results.trials, results.study)
    shared = [key for key in results.keys if key.partition(".")[0] != "method"]
    return {
        str(dataset): gallery(
            rows, results.cases, results.study.report.baseline, shared, folder, study_folder, data_root
        )
        for dataset, rows in trials.groupby("dataset", sort=False)
    }


def gallery(
    trials: pd.DataFrame,
    cases: pd.DataFrame,
    baseline: str,
    shared: Sequence[str],
    results: Path,
    study_folder: Path,
    data_root: Path | None,
) -> Gallery | str:
    """Return what the qualitative figure of one dataset shows, or why there can be none.

    Args:
        trials: of ``trial_frame``, of one dataset, with the column ``arm``.
        cases: of ``case_frame``.
        baseline: the method that the choice of cases rests on; the first arm where none of its predictions were kept.
        shared: the factors in which an arm has to agree for its gain to be one of the method.
        results: the results folder.
        study_folder: where copies of images lie.
        data_root: where the dataset lies, if it does.
    """
    done = trials[trials["status"] == "complete"]
    if not len(done):
        return "no trial is complete"
    # the lowest seed of an arm may have been taken over from published records, which have no predictions
    done = done[[(trial_folder(results, id) / "predictions").is_dir() for id in done["id"]]]
    if not len(done):
        return "no predictions were kept"
    by_seed = _first_shots(done).sort_values("seed", kind="stable")
    kept = row_dicts(by_seed.drop_duplicates(["architecture", "arm"]).sort_index())
    reference = next((row for row in kept if row["method"] == baseline), kept[0])
    ranked = cases_by_dice(cases, reference["id"])
    if not len(ranked):
        return "no case has a Dice value"
    dice = {row["id"]: cases_by_dice(cases, row["id"]) for row in kept}
    other = _rival(kept, reference, shared)
    shown = _shown(kept, reference)
    volumes = []
    for title, case in _picked(ranked, dice[other["id"]] if other else None).items():
        image = case_image(study_folder, reference["dataset"], case, data_root)
        if isinstance(image, str):
            return f"no image of case {case}: {image}"
        predictions = [_prediction(results, row["id"], case, image) for row in shown]
        notes = [
            f"Dice {100 * dice[row['id']][case]:.1f} %" if case in dice[row["id"]] else UNSET for row in shown
        ]
        volumes.append(_volumes(f"{title}: {case}", image, predictions, notes))
    return Gallery(
        columns=("Image", "Reference", *_names(shown)),
        volumes=tuple(volumes),
        labels=_label_names(reference["dataset"]),
        caption=_caption(reference, other, shown, len(kept)),
    )


def _first_shots(done: pd.DataFrame) -> pd.DataFrame:
    return done[[value == done["shots"].iloc[0] for value in done["shots"]]]


def _rival(
    kept: list[dict[str, Any]], reference: Mapping[str, Any], shared: Sequence[str]
) -> dict[str, Any] | None:
    """Return the arm whose gain over ``reference`` chooses a case: the first that differs in its method alone, or the next."""
    others = [row for row in kept if row["id"] != reference["id"]]
    alike = (
        row
        for row in others
        if row["method"] != reference["method"] and all(row[key] == reference[key] for key in shared)
    )
    return next(alike, next(iter(others), None))


def _names(shown: list[dict[str, Any]]) -> list[str]:
    """Return the titles of arms, with their architectures and seeds where these are not the same."""
    names = [str(row["arm"]) for row in shown]
    if len({row["architecture"] for row in shown}) > 1:
        names = [f"{row['architecture']}\n{name}" for row, name in zip(shown, names, strict=True)]
    if len({row["seed"] for row in shown}) > 1:
        names = [f"{name}, seed {value_text(row['seed'])}" for row, name in zip(shown, names, strict=True)]
    return names


def _shown(kept: list[dict[str, Any]], reference: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the arms that have room: where not all do, the first ones on the architecture of ``reference``."""
    if len(kept) > MOST_ARMS:
        kept = [row for row in kept if row["architecture"] == reference["architecture"]] or kept
    return kept[:MOST_ARMS]


def _picked(ranked: pd.Series, other: pd.Series | None) -> dict[str, str]:
    """Return the median case (the lower one of two), the worst one, and that of the largest gain of ``other``.

    A case that is picked already is not picked again.
    """
    ids = [str(case) for case in ranked.index]
    picked = {"Median": ids[(len(ids) - 1) // 2], "Worst": ids[0]}
    gains = (other - ranked).dropna() if other is not None else ranked.iloc[:0]
    if len(gains):
        picked["Largest gain"] = str(gains.idxmax())
    return {
        title: case for i, (title, case) in enumerate(picked.items()) if case not in list(picked.values())[:i]
    }


def _prediction(results: Path, trial_id: str, case: str, image: CaseImage) -> NDArray[np.uint8] | None:
    """Return a trial's labels of a case, None where they were not kept or have another shape."""
    path = trial_folder(results, trial_id) / "predictions" / f"{case}.{STUDENT}.nii.gz"
    try:
        label = read_label(path, _ANY_LABEL).array
    except UserError:
        return None
    return to_ras(label, image.affine)[0] if label.shape == image.label.shape else None


def _volumes(
    title: str, case: CaseImage, predictions: Sequence[NDArray[np.uint8] | None], notes: Sequence[str]
) -> CaseVolumes:
    reference, spacing = to_ras(case.label, case.affine)
    image = to_ras(case.image, case.affine)[0]
    return CaseVolumes(title, spacing, image, reference, tuple(predictions), tuple(notes))


def _case_row(case: CaseVolumes) -> CaseRow:
    index = fullest_slice(case.reference)
    image, reference = axial(case.image, index), axial(case.reference, index)
    panels = [Panel(image), Panel(image, reference, reference)]
    wrong = np.zeros(reference.shape, np.int64)
    for volume, note in zip(case.predictions, case.notes, strict=True):
        if volume is None:
            panels.append(Panel(image, note="not kept"))
            continue
        label = axial(volume, index)
        errors = error_map(reference, label)
        panels.append(Panel(image, label, reference, errors, note))
        wrong += errors > 0
    box = zoom_box(reference > 0, wrong)
    return CaseRow(case.title, case.spacing[1] / case.spacing[0], box, tuple(panels))


def _label_names(dataset: str) -> dict[int, str]:
    try:
        labels = getattr(registry.load("dataset", dataset), "labels", {})  # of a folder: in its files
    except UserError:
        return {}
    return {int(value): str(name) for value, name in labels.items() if value != 0}


def _caption(
    reference: Mapping[str, Any], other: Mapping[str, Any] | None, shown: Sequence[Mapping[str, Any]], arms: int
) -> str:  # fmt: skip
    gain = f", and largest gain of {other['arm']} on {other['architecture']} over it" if other else ""
    text = (
        f"Cases by rule: median and lowest mean Dice of the student of {reference['arm']} on "
        f"{reference['architecture']}{gain}; seed {value_text(reference['seed'])}, "
        f"{shots_text(reference['shots'])}. Axial slice with most labelled voxels in the reference; the "
        "patient's right is on the left; dotted: where the arms err most, enlarged below, with the reference's outline "
        "in white. Students of each arm's lowest seed with predictions; Dice is the mean over regions of the whole case."
    )
    if len(shown) == arms:
        return text
    return text + f" {len(shown)} of {arms} arms are shown, the first on {shown[0]['architecture']}."
