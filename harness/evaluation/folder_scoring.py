"""Scoring a folder of predictions against a folder of references, whoever made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from harness.data.grid_rules import grid_fault, turned_to
from harness.data.nifti import label_values, read_label
from harness.data.volume import Volume
from harness.errors import UserError, did_you_mean
from harness.evaluation.conventions import HARNESS, Convention, Regions, metric_named
from harness.evaluation.known_numberings import Mismatch, find_mismatch, mismatch_error
from harness.evaluation.metrics import score_case, without_ignored
from harness.evaluation.pairing import Pairs, Problem
from harness.evaluation.surface import Labels

_AGREES = 1e-9  # to medpy


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
        missing: labels that no region has, and regions that no file has, where that was allowed.
        with_ignored: cases whose reference has voxels that are ignored.
    """

    regions: Regions
    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    verified: int = 0
    unverified: list[Problem] = field(default_factory=list)
    largest_difference: float | None = None
    missing: Mismatch = field(default_factory=Mismatch)
    with_ignored: int = 0

    @property
    def agrees(self) -> bool:
        """Whether medpy could score the cases that it should, and came to the same values."""
        difference = self.largest_difference
        return not self.unverified and difference is not None and difference <= _AGREES

    @property
    def cases(self) -> list[str]:
        """The cases that were scored."""
        return list(dict.fromkeys(row["case"] for row in self.rows))


@dataclass(frozen=True)
class _Scoring:
    """How each pair is scored; ``known`` are the labels that a prediction may have, None for any."""

    regions: Regions
    metrics: tuple[str, ...]
    convention: Convention
    ignore: int | None
    known: frozenset[int] | None
    tolerances: Mapping[str, float]


def evaluate_pairs(
    pairs: Pairs,
    *,
    names: Mapping[int, str] | None = None,
    regions: Regions | None = None,
    metrics: Sequence[str],
    convention: Convention = HARNESS,
    tolerances: Mapping[str, float] = MappingProxyType({}),
    ignore: int | None = None,
    allow_missing_labels: bool = False,
    workers: int = 1,
    verify: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Evaluation:
    """Score every pair that can be scored, and say why the others cannot.

    Where every label is scored, a prediction's label that no reference has, and no name, is a mistake of its case.

    Args:
        pairs: files by case.
        names: label value -> name of its region; a label without a name is named by its number.
        regions: what is scored, instead of every label.
        metrics: names.
        convention: unit and rules for empty masks; without ``names`` and ``regions`` its own regions are scored.
        tolerances: region -> tolerance of ``nsd@region``, in the convention's unit of length.
        ignore: label of the voxels of references that count nowhere.
        allow_missing_labels: whether files may have labels that are in no region, and regions be in no file.
        workers: processes.
        verify: cases, drawn at random from those that were scored, that medpy scores too.
        on_progress: told how many files were worked on, of how many, after each.

    Raises:
        UserError: two labels of one name, none at all, other labels than the regions', or tolerances of other regions.
    """
    names, files = names or {}, pairs.files
    steps = len(files) * 2 + min(verify, len(files))
    report_from = lambda offset: lambda done: on_progress(offset + done, steps)  # noqa: E731
    given = regions or (None if names else convention.regions)
    to_read = {case: (*both, ignore, given is not None) for case, both in files.items()}
    labels, unreadable = _run_cases(_labels, to_read, workers, report_from(0))
    in_references = {value for own, _ in labels.values() for value in own} - {0, ignore}
    in_predictions = {value for _, own in labels.values() for value in own} - {0}
    where = "--regions" if regions else f"--convention {convention.name}"
    missing = _mismatch(in_references, in_predictions, given if labels else None, allow_missing_labels, where)
    known = None if given else frozenset(in_references | names.keys())
    chosen = given or (_regions(in_references, names) if labels else {})
    _check_tolerances(tolerances if labels else {}, chosen)
    scoring = _Scoring(chosen, tuple(metrics), convention, ignore, known, tolerances)
    to_score = {case: (*files[case], scoring) for case in labels}
    scored, failed = _run_cases(_score_pair, to_score, workers, report_from(len(files)))
    found = Evaluation(
        regions=chosen,
        rows=[{"case": case, **row} for case in sorted(scored) for row in scored[case]],
        problems=sorted([*pairs.problems, *unreadable, *failed], key=lambda problem: problem.case),
        missing=missing,
        with_ignored=sum(ignore in own for own, _ in labels.values()),
    )
    to_compare = {case: (*to_score[case], scored[case]) for case in _drawn(scored, verify)}
    _verify(found, to_compare, workers, report_from(steps - len(to_compare)))
    return found


def _mismatch(
    in_references: set[int], in_predictions: set[int], given: Regions | None, allowed: bool, where: str
) -> Mismatch:
    """Return what labels of the files and regions lack of each other; refuse it where it is not allowed."""
    occurring = in_references | in_predictions
    missing = find_mismatch(in_references, in_predictions, given) if given else Mismatch()
    if missing and not allowed:
        raise mismatch_error(missing, occurring, where)
    return missing


def _check_tolerances(tolerances: Mapping[str, float], regions: Regions) -> None:
    """Refuse tolerances of other regions than those that are scored, or of some of them alone."""
    for region in tolerances:
        if region not in regions:
            raise UserError(
                "--tolerances", f"unknown region {region!r}", f"one of {', '.join(regions)}", did_you_mean(region, regions)
            )  # fmt: skip
    if tolerances and (lacking := [region for region in regions if region not in tolerances]):
        raise UserError(
            "--tolerances", f"none for {', '.join(lacking)}", "one for each region that is scored", "Add it."
        )


def _drawn(cases: Iterable[str], number: int) -> list[str]:
    return np.random.default_rng().permutation(sorted(cases))[:number].tolist()


def _verify(
    found: Evaluation,
    to_compare: Mapping[str, tuple[Any, ...]],
    workers: int,
    on_progress: Callable[[int], None],
) -> None:
    """Note how far the scores of some cases are from medpy's."""
    compared, found.unverified = _run_cases(_difference_to_medpy, to_compare, workers, on_progress)
    differences = [difference for difference in compared.values() if difference is not None]
    found.verified = len(differences)
    found.largest_difference = float(np.max(differences)) if differences else None


def _regions(occurring: set[int], names: Mapping[int, str]) -> Regions:
    """Return a region for each label: the named ones in their order, then the others.

    Raises:
        UserError: two labels would go by the same name, or there is none.
    """
    regions: dict[str, tuple[int, ...]] = {}
    for value in [*names, *sorted(occurring - names.keys())]:
        name = names.get(value, str(value))
        if name in regions:
            raise UserError(
                "labels", f"the name {name!r} for {regions[name][0]} and for {value}, which has none of its own",
                "different names", "Name both.",
            )  # fmt: skip
        regions[name] = (value,)
    if not regions:
        raise UserError(
            "references", "no label in any of them", "labels to score", "Name them with --labels, or check the files."
        )  # fmt: skip
    return regions


def _labels(
    prediction: Path, reference: Path, ignore: int | None, also_predicted: bool
) -> tuple[list[int], list[int]]:
    """Return the labels of the reference and, if they are wanted, those of the prediction where it is not ignored."""
    theirs = _read(reference)
    values = label_values(theirs.array)
    if not also_predicted:
        return values, []
    try:
        mine, _ = _on_one_grid(prediction, reference, theirs, ignore)
    except UserError:  # the case will not be scored, for that reason
        return values, []
    return values, label_values(mine)


def _score_pair(prediction: Path, reference: Path, scoring: _Scoring) -> list[dict[str, Any]]:
    theirs = _read(reference)
    if theirs.is_single_slice and any(metric_named(name).of_surface for name in scoring.metrics):
        raise UserError(
            reference, f"shape {theirs.array.shape}, one slice", "a volume",
            "Stack the slices of a case, since in a single slice every voxel would be surface; "
            "or score what needs no surface, with --metrics dice.",
        )  # fmt: skip
    maps = _on_one_grid(prediction, reference, theirs, scoring.ignore)
    known = scoring.known
    unknown = [value for value in label_values(maps[0]) if known is not None and value and value not in known]
    if unknown:
        raise UserError(
            prediction, f"unknown labels {unknown}", f"labels among {sorted(known or ())}, which the references have",
            "Correct the file, or name these labels with --labels or --regions.",
        )  # fmt: skip
    return score_case(
        *maps, theirs.spacing, scoring.regions, scoring.metrics, scoring.convention, scoring.tolerances
    )


def _difference_to_medpy(
    prediction: Path, reference: Path, scoring: _Scoring, rows: list[dict[str, Any]]
) -> float | None:
    """Return the largest difference of the values to medpy's, None where there is none to compare.

    Compared are the metrics that medpy has, of the regions that both maps have.
    """
    from medpy.metric import binary

    theirs = _read(reference)
    maps = _on_one_grid(prediction, reference, theirs, scoring.ignore)
    scale = scoring.convention.spacing(theirs.spacing)
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
            a, b = (np.isin(labels, scoring.regions[row["region"]]) for labels in maps)
            differences.append(abs(row["value"] - float(medpy[row["metric"]](a, b))))
    return float(np.max(differences)) if differences else None


def _read(path: Path) -> Volume:
    return read_label(path, allowed=range(256))


def _on_one_grid(
    prediction: Path, reference: Path, theirs: Volume, ignore: int | None
) -> tuple[Labels, Labels]:
    """Return both maps, without what is ignored; the prediction's axes are turned where they are stored otherwise.

    Raises:
        UserError: the prediction cannot be read, or lies on another grid.
    """
    mine = turned_to(_read(prediction), theirs.affine, theirs.array.shape)
    fault = grid_fault(mine, theirs, reference)
    if fault is not None:
        raise fault.error(prediction)
    return without_ignored(mine.array, theirs.array, ignore)


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
