"""Scoring a folder of predictions against a folder of references, whoever made them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.layouts import SUFFIXES
from harness.data.nifti import label_values, read_label
from harness.data.volume import Volume, corner_distance
from harness.errors import UserError
from harness.evaluation.conventions import HARNESS, Convention, Regions
from harness.evaluation.metrics import score_case

_AGREES = 1e-9  # to medpy
_SAME_PLACE = 0.05  # of a voxel: what writers round, not what registration moves


@dataclass(frozen=True)
class Problem:
    """Why a case was not scored, in a line."""

    case: str
    message: str


@dataclass(frozen=True)
class Pairs:
    """The files of the cases that both folders have, and what is missing."""

    files: dict[str, tuple[Path, Path]]
    problems: list[Problem]


@dataclass
class Evaluation:
    """What became of a folder.

    Attributes:
        regions: that were scored, in order.
        rows: ``case, region, metric, value, unit, empty``, sorted by case.
        problems: of the cases that were not scored.
        verified: cases with a value that medpy computed too.
        unverified: of the cases that medpy should have scored, and could not.
        largest_difference: to medpy, over the cases that were verified; None where none was.
    """

    regions: Regions
    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    verified: int = 0
    unverified: list[Problem] = field(default_factory=list)
    largest_difference: float | None = None

    @property
    def agrees(self) -> bool:
        """Whether medpy could score the cases that it should, and came to the same values."""
        difference = self.largest_difference
        return not self.unverified and difference is not None and difference <= _AGREES

    @property
    def cases(self) -> list[str]:
        """The cases that were scored."""
        return list(dict.fromkeys(row["case"] for row in self.rows))


def pair_files(
    predictions: Path, references: Path, prediction_names: str = "{case}", reference_names: str = "{case}"
) -> Pairs:
    """Find the files of each case in two folders, by its id and never by their order.

    Args:
        predictions: folder of ``.nii.gz`` or ``.nii`` files.
        references: the same.
        prediction_names: file name without its suffix, with ``{case}`` where the id stands.
        reference_names: the same.

    Raises:
        UserError: a folder is not there or has no such file, or the two share no case.
    """
    mine = _files(predictions, prediction_names)
    theirs = _files(references, reference_names)
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        raise UserError(
            predictions, f"cases such as {', '.join(sorted(mine)[:3])}",
            f"cases of {references}, such as {', '.join(sorted(theirs)[:3])}",
            "Say with --prediction-names or --reference-names where in a file's name the case stands.",
        )  # fmt: skip
    problems = [
        Problem(case, f"no prediction in {predictions}") for case in sorted(theirs.keys() - mine.keys())
    ]
    problems += [
        Problem(case, f"no reference in {references}") for case in sorted(mine.keys() - theirs.keys())
    ]
    return Pairs({case: (mine[case], theirs[case]) for case in common}, problems)


def _files(folder: Path, names: str) -> dict[str, Path]:
    if names.count("{case}") != 1:
        raise UserError("names", repr(names), "one {case} in it", "Write it as in '{case}.student'.")
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            folder, f"no folder that can be read ({error.strerror})", "a folder of NIfTI files",
            "Name another folder.",
        ) from error  # fmt: skip
    before, after = names.split("{case}")
    found: dict[str, Path] = {}
    for path in paths:
        suffix = next((end for end in SUFFIXES if path.name.endswith(end)), None)
        if suffix is None or path.name.startswith("."):
            continue
        stem = path.name.removesuffix(suffix)
        if len(stem) > len(before + after) and stem.startswith(before) and stem.endswith(after):
            case = stem[len(before) : len(stem) - len(after)]
            if case in found:
                raise UserError(
                    folder, f"{found[case].name} and {path.name}", "one file for a case",
                    "Remove one of them.",
                )  # fmt: skip
            found[case] = path
    if not found:
        raise UserError(
            folder, f"no file named {names} with {' or '.join(SUFFIXES)}", "a file for each case",
            "Name another folder, or say how the files are named.",
        )  # fmt: skip
    return found


def evaluate_pairs(
    pairs: Pairs,
    *,
    names: Mapping[int, str] | None = None,
    regions: Regions | None = None,
    metrics: Sequence[str],
    convention: Convention = HARNESS,
    workers: int = 1,
    verify: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Evaluation:
    """Score every pair that can be scored, and say why the others cannot.

    A prediction's label that no reference has, and that neither ``names`` nor ``regions`` knows, is a
    mistake: its case is not scored.

    Args:
        pairs: files by case.
        names: label value -> name of its region; a label without a name is named by its number.
        regions: what is scored, instead of every label.
        metrics: names.
        convention: unit and rules for empty masks; its own regions are scored where neither ``names`` nor
            ``regions`` is given.
        workers: processes.
        verify: cases, drawn at random from those that were scored, that medpy scores too.
        on_progress: told how many files were worked on, of how many, after each.

    Raises:
        UserError: two labels would go by the same name, or there is none.
    """
    names = names or {}
    files, steps = pairs.files, len(pairs.files) * 2 + min(verify, len(pairs.files))
    report_from = lambda offset: lambda done: on_progress(offset + done, steps)  # noqa: E731
    labels, unreadable = _run_cases(_reference_labels, files, workers, report_from(0))
    occurring = {value for values in labels.values() for value in values if value}
    chosen = regions or (None if names else convention.regions) or _regions(occurring, names)
    if labels and not chosen:
        raise UserError(
            "references", "no label in any of them", "labels to score", "Name them with --labels, or check the files."
        )  # fmt: skip
    known = occurring | {*names} | {value for values in chosen.values() for value in values}
    to_score = {case: (*files[case], known, chosen, tuple(metrics), convention) for case in labels}
    scored, failed = _run_cases(_score_pair, to_score, workers, report_from(len(files)))
    drawn = np.random.default_rng().permutation(sorted(scored))[:verify].tolist()
    to_compare = {case: (*files[case], scored[case], chosen, convention) for case in drawn}
    compared, unverified = _run_cases(
        _difference_to_medpy, to_compare, workers, report_from(steps - len(drawn))
    )
    differences = [difference for difference in compared.values() if difference is not None]
    return Evaluation(
        regions=chosen,
        rows=[{"case": case, **row} for case in sorted(scored) for row in scored[case]],
        problems=sorted([*pairs.problems, *unreadable, *failed], key=lambda problem: problem.case),
        verified=len(differences),
        unverified=unverified,
        largest_difference=float(np.max(differences)) if differences else None,
    )


def _regions(occurring: set[int], names: Mapping[int, str]) -> Regions:
    """Return a region for each label: the named ones in their order, then the others."""
    regions: dict[str, tuple[int, ...]] = {}
    for value in [*names, *sorted(occurring - names.keys())]:
        name = names.get(value, str(value))
        if name in regions:
            raise UserError(
                "labels", f"the name {name!r} for {regions[name][0]} and for {value}, which has none of its own",
                "different names", "Name both.",
            )  # fmt: skip
        regions[name] = (value,)
    return regions


def _reference_labels(prediction: Path, reference: Path) -> list[int]:
    return label_values(_read(reference).array)


def _score_pair(
    prediction: Path,
    reference: Path,
    known: set[int],
    regions: Regions,
    metrics: Sequence[str],
    convention: Convention,
) -> list[dict[str, Any]]:
    mine, theirs = _read(prediction), _read(reference)
    _check_grid(prediction, mine, reference, theirs)
    unknown = [value for value in label_values(mine.array) if value and value not in known]
    if unknown:
        raise UserError(
            prediction, f"unknown labels {unknown}", f"labels among {sorted(known)}, which the references have",
            "Correct the file, or name these labels with --labels or --regions.",
        )  # fmt: skip
    return score_case(mine.array, theirs.array, theirs.spacing, regions, metrics, convention)


def _difference_to_medpy(
    prediction: Path, reference: Path, rows: list[dict[str, Any]], regions: Regions, convention: Convention
) -> float | None:
    """Return the largest difference of the values to medpy's, None where there is none to compare.

    Compared are the metrics that medpy has, of the regions that both maps have.
    """
    from medpy.metric import binary

    mine, theirs = _read(prediction), _read(reference)
    scale = convention.spacing(theirs.spacing)
    medpy = {
        "dice": binary.dc,
        "hd95": partial(binary.hd95, voxelspacing=scale),
        "assd": partial(binary.assd, voxelspacing=scale),
        "sensitivity": binary.recall,
        "precision": binary.precision,
    }
    differences = []
    for row in rows:
        if row["empty"] == "none" and row["metric"] in medpy:
            a, b = (np.isin(volume.array, regions[row["region"]]) for volume in (mine, theirs))
            differences.append(abs(row["value"] - float(medpy[row["metric"]](a, b))))
    return float(np.max(differences)) if differences else None


def _read(path: Path) -> Volume:
    return read_label(path, allowed=range(256))


def _check_grid(prediction: Path, mine: Volume, reference: Path, theirs: Volume) -> None:
    shape = theirs.array.shape
    if mine.array.shape != shape:
        raise UserError(
            prediction, f"shape {mine.array.shape}", f"{shape}, the shape of {reference}",
            "Bring the prediction to the grid of the reference, with nearest-neighbour interpolation.",
        )  # fmt: skip
    if min(shape) == 1:
        raise UserError(
            reference, f"shape {shape}, one slice", "a volume",
            "Stack the slices of a case: in a single slice every voxel would be surface.",
        )  # fmt: skip
    apart = corner_distance(mine.affine, theirs.affine, shape)
    if apart > _SAME_PLACE * min(theirs.spacing):
        raise UserError(
            prediction, f"an affine by which a corner lies {apart:.3g} mm away from its place in {reference}",
            "the reference's affine", "Resample the prediction, or correct its header if only that is wrong.",
        )  # fmt: skip


def _run_cases(
    function: Callable[..., Any],
    arguments: Mapping[str, tuple[Any, ...]],
    workers: int,
    on_progress: Callable[[int], None],
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the result of each case, and the problems of those that have none."""
    results: dict[str, Any] = {}
    problems: list[Problem] = []
    for done, (case, result) in enumerate(_outcomes(function, arguments, workers), start=1):
        try:
            results[case] = result()
        except UserError as error:
            problems.append(Problem(case, str(error)))
        except Exception as error:  # one broken case, or a process that was killed, must not end the others
            problems.append(Problem(case, f"{type(error).__name__}: {error}"))
        on_progress(done)
    return results, problems


def _outcomes(
    function: Callable[..., Any], arguments: Mapping[str, tuple[Any, ...]], workers: int
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each case, as they come, with what returns its result or raises its exception."""
    if workers == 1 or len(arguments) < 2:
        yield from ((case, partial(function, *values)) for case, values in arguments.items())
        return
    with ProcessPoolExecutor(min(workers, len(arguments)), mp_context=get_context("spawn")) as pool:
        cases = {pool.submit(function, *values): case for case, values in arguments.items()}
        for future in as_completed(cases):
            yield cases[future], future.result
