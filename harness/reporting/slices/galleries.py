"""Which cases and slices a qualitative figure shows, and the arrays to draw: no plotting here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from harness.reporting.wording import UNSET, shots_text
from harness.study.names import value_text

MOST_ARMS = 6
_ANY_LABEL = range(2**32)


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
        pixel: its width, mm.
        box: top, bottom, left and right of the part that is enlarged, in pixels, ends excluded; of the slice's shape.
        panels: one per column.
    """

    title: str
    aspect: float
    pixel: float
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
    """Chosen cases: ``columns`` are titles, ``labels`` name the label values, ``regions`` the labels of scored groups of them."""

    columns: tuple[str, ...]
    volumes: tuple[CaseVolumes, ...]
    labels: Mapping[int, str]
    caption: str
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> tuple[CaseRow, ...]:
        """The slice of each case that the figure shows."""
        return tuple(_case_row(case) for case in self.volumes)


def all_galleries(
    data: ReportData, results: Path, study_folder: Path, data_root: Path | None
) -> dict[str, Gallery | str]:
    """Return the gallery of each dataset of a study, or why there can be none.

    The choice of cases rests on the baseline, or on the first arm where none of the baseline's predictions were kept.

    Args:
        data: of the report.
        results: the results folder, with ``trials/``.
        study_folder: the folder with the study's copies of images.
        data_root: the folder of datasets, if there is one.
    """
    trials = with_arm_names(data.trials, data.study)
    trials["architecture"] = [data.names.value("architecture", name) for name in trials["architecture"]]
    return {
        str(dataset): _gallery(data, rows, results, study_folder, data_root)
        for dataset, rows in trials.groupby("dataset", sort=False)
    }


def _gallery(
    data: ReportData, trials: pd.DataFrame, results: Path, study_folder: Path, data_root: Path | None
) -> Gallery | str:
    kept = _kept_trials(trials, results)
    if isinstance(kept, str):
        return kept
    reference = next((row for row in kept if row["method"] == data.baseline), kept[0])
    dice = {row["id"]: cases_by_dice(data.cases_of_trials, row["id"]) for row in kept}
    if not len(dice[reference["id"]]):
        return "no case has a Dice value"
    shared = [key for key in data.keys if key.partition(".")[0] != "method"]
    compared = _compared_arm(kept, reference, shared)
    shown = _shown_arms(kept, reference)
    chosen = _chosen_cases(dice[reference["id"]], dice[compared["id"]] if compared else None)
    volumes = []
    for title, case in chosen.items():
        image = case_image(study_folder, reference["dataset"], case, data_root)
        if isinstance(image, str):
            return f"no image of case {case}: {image}"
        predictions = tuple(_prediction(results, row["id"], case, image) for row in shown)
        values = (dice[row["id"]].get(case) for row in shown)
        notes = tuple(UNSET if value is None else f"Dice {100 * value:.1f} %" for value in values)
        array, spacing = to_ras(image.image, image.affine)
        label = to_ras(image.label, image.affine)[0]
        volumes.append(CaseVolumes(f"{title}: {case}", spacing, array, label, predictions, notes))
    named, regions = _label_names(reference["dataset"], data_root)
    in_bytes, labels = _in_bytes(volumes, named)
    return Gallery(
        columns=("Image", "Reference", *_arm_titles(shown)),
        volumes=in_bytes,
        labels={value: data.names.region(name) for value, name in labels.items()},
        caption=_caption(reference, compared, shown, len(kept)),
        regions={
            data.names.region(region): tuple(named[value] for value in values if value in named)
            for region, values in regions.items()
        },
    )


def _kept_trials(trials: pd.DataFrame, results: Path) -> list[dict[str, Any]] | str:
    """Return the lowest seed with predictions of each arm and architecture, for the first number of training cases.

    Trials that were taken over from published records have no predictions.
    """
    done = trials[trials["status"] == "complete"]
    if not len(done):
        return "no trial is complete"
    done = done[[(trial_folder(results, id) / "predictions").is_dir() for id in done["id"]]]
    if not len(done):
        return "no predictions were kept"
    first = done[[shots == done["shots"].iloc[0] for shots in done["shots"]]]
    by_seed = first.sort_values("seed", kind="stable")
    return row_dicts(by_seed.drop_duplicates(["architecture", "arm"]).sort_index())


def _compared_arm(
    kept: list[dict[str, Any]], reference: Mapping[str, Any], shared: Sequence[str]
) -> dict[str, Any] | None:
    """Return the arm whose gain over ``reference`` chooses a case: the first that differs in its method alone, or the next."""
    others = [row for row in kept if row["id"] != reference["id"]]
    for row in others:
        if row["method"] != reference["method"] and all(row[key] == reference[key] for key in shared):
            return row
    return others[0] if others else None


def _arm_titles(shown: list[dict[str, Any]]) -> list[str]:
    """Return the titles of arms, with their architectures and seeds where these are not the same."""
    names = [str(row["arm"]) for row in shown]
    if len({row["architecture"] for row in shown}) > 1:
        names = [f"{row['architecture']}\n{name}" for row, name in zip(shown, names, strict=True)]
    if len({row["seed"] for row in shown}) > 1:
        names = [f"{name}, seed {value_text(row['seed'])}" for row, name in zip(shown, names, strict=True)]
    return names


def _shown_arms(kept: list[dict[str, Any]], reference: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the arms that have room: where not all do, the first ones on the architecture of ``reference``."""
    if len(kept) > MOST_ARMS:
        kept = [row for row in kept if row["architecture"] == reference["architecture"]] or kept
    return kept[:MOST_ARMS]


def _chosen_cases(dice: pd.Series, compared: pd.Series | None) -> dict[str, str]:
    """Return the median case (the lower one of two), the worst one, and the one with the largest gain; none twice.

    Args:
        dice: of the reference by case, lowest first.
        compared: of the arm whose gain counts, if there is one.
    """
    ids = [str(case) for case in dice.index]
    chosen = {ids[(len(ids) - 1) // 2]: "Median"}
    chosen.setdefault(ids[0], "Worst")
    gains = (compared - dice).dropna() if compared is not None else dice.iloc[:0]
    if len(gains):
        chosen.setdefault(str(gains.idxmax()), "Largest gain")
    return {title: case for case, title in chosen.items()}


def _prediction(results: Path, trial_id: str, case: str, image: CaseImage) -> NDArray[np.uint8] | None:
    """Return a trial's labels of a case, None where they were not kept or have another shape."""
    path = trial_folder(results, trial_id) / "predictions" / f"{case}.{STUDENT}.nii.gz"
    try:
        label = read_label(path, _ANY_LABEL).array
    except UserError:
        return None
    if label.shape != image.label.shape:
        return None
    label = label.astype(np.min_scalar_type(label.max(initial=0)))
    if image.ignored is not None:
        label = np.where(image.ignored, label.dtype.type(0), label)
    return to_ras(label, image.affine)[0]


def _in_bytes(
    volumes: Sequence[CaseVolumes], names: Mapping[int, str]
) -> tuple[tuple[CaseVolumes, ...], Mapping[int, str]]:
    """Return cases with labels as bytes, and their names; where a label is above 255 all are numbered anew."""
    maps = [one for case in volumes for one in (case.reference, *case.predictions) if one is not None]
    values: NDArray[Any] | None = None
    if any(one.max(initial=0) > 255 for one in maps):
        values = np.unique(np.concatenate([[0], *(np.unique(one) for one in maps)]))
        numbered = enumerate(values.tolist())
        names = {code: names.get(value, f"label {value}") for code, value in numbered if value}

    def narrow(labels: NDArray[Any]) -> NDArray[np.uint8]:
        return (labels if values is None else np.searchsorted(values, labels)).astype(np.uint8, copy=False)

    return tuple(
        replace(
            case,
            reference=narrow(case.reference),
            predictions=tuple(None if one is None else narrow(one) for one in case.predictions),
        )
        for case in volumes
    ), names


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
    return CaseRow(case.title, case.spacing[1] / case.spacing[0], case.spacing[0], box, tuple(panels))


def _label_names(name: str, data_root: Path | None) -> tuple[dict[int, str], Mapping[str, tuple[int, ...]]]:
    """Return the names of a dataset's labels, and its regions where these are groups of labels.

    Those of a folder are in its files, and not known where the data are not here.
    """
    try:
        dataset = registry.load("dataset", name)()
        dataset.learn_labels(data_root)
        labels, regions = dataset.labels, dataset.regions or {}
    except (UserError, AttributeError):
        return {}, {}
    named = {int(value): str(label) for value, label in labels.items() if value != 0}
    groups = {region: values for region, values in regions.items() if len(values) > 1}
    return named, dict(regions) if groups else {}


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
