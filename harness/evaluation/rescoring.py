"""Kept predictions scored again by other conventions: how much of a number, and of a gain, is the convention's?

A convention changes no prediction; only ``largest_component`` is a step after it. Whatever is compared is scored from
the same files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from harness import registry
from harness.data.nifti import read_label
from harness.data.volume import ROUNDING
from harness.errors import UserError
from harness.evaluation.conventions import HARNESS, Convention
from harness.evaluation.metrics import DEFAULT_METRICS, score_case_by, without_ignored
from harness.evaluation.summary import OVER_REGIONS, summarise
from harness.files.whole import whole
from harness.records.schema import RESCORED
from harness.records.store import Store
from harness.study.study import Study

_SUFFIX = ".nii.gz"
COLUMNS = ("id", "role", "variant", "metric", "value", "misses")
SOURCE = "source"
"""Column of the kept file alone: the checksum of all that a row was made from."""


@dataclass(frozen=True)
class Variant:
    """One way to score: what it does differently from the harness, in words; its convention; what is done before."""

    name: str
    description: str
    convention: Convention = HARNESS
    largest_component: bool = False
    every_label: bool = False


_ZERO: dict[str, Any] = {"distance_one_empty": "zero", "distance_both_empty": 0.0, "dice_both_empty": 1.0}
VARIANTS = (
    Variant("harness", "as everywhere else in this report"),
    Variant("voxels", "distances in voxels", replace(HARNESS, unit="voxel")),
    Variant(
        "zero for empty",
        "a distance of 0 where a mask is empty, Dice 1 where both are",
        replace(HARNESS, **_ZERO),
    ),
    Variant(
        "misses left out",
        "no distance where one mask alone is empty",
        replace(HARNESS, distance_one_empty="not counted"),
    ),
    Variant("released", "both of these, as the released scripts", replace(HARNESS, unit="voxel", **_ZERO)),
    Variant(
        "case first", "mean over the regions of a case first", replace(HARNESS, aggregation="case_first")
    ),
    Variant("every label", "every label a region, also those that are not reported", every_label=True),
    Variant("largest component", "after keeping the largest component of each label", largest_component=True),
)


def rescore(study: Study, results: Path, data_root: Path | None, workers: int = 1) -> pd.DataFrame:
    """Score the kept predictions of a study's complete trials by every variant, and keep the result for its report.

    What has been scored before from the same files and by the same variants is not scored again.

    Returns:
        one row per trial, role, variant and metric, :data:`COLUMNS` and :data:`SOURCE`: ``value`` is the mean over regions,
        ``misses`` the number of cases and regions of which one mask alone is empty. ``<results>/<study>/conventions.parquet``
        has it; rows of the study's trials whose predictions are not here are kept from there.

    Raises:
        UserError: no complete trial has kept its predictions, a file of them or of the references is missing, or one of
            them is no longer what the trial was scored by.
    """
    jobs = list(_jobs(study, results, data_root))
    if not jobs:
        raise UserError(
            f"study {study.name}", f"no complete trial with predictions in {results}", "trials that keep them",
            _how_to_keep(study),
        )  # fmt: skip
    folder = results / study.name
    folder.mkdir(parents=True, exist_ok=True)
    known = _kept_rows(folder / RESCORED)
    done = set(zip(known["id"], known["role"], known[SOURCE], strict=True))
    missing = [job for job in jobs if (job.id, job.role, job.source) not in done]
    places = {cell.spec.id: place for place, cell in enumerate(study.cells)}
    again = {(job.id, job.role) for job in missing}
    kept = [
        id in places and (id, role) not in again for id, role in zip(known["id"], known["role"], strict=True)
    ]
    parts = [known[kept], pd.DataFrame(_scored(missing, workers), columns=[*COLUMNS, SOURCE])]
    frame = pd.concat([part for part in parts if len(part)])
    frame = frame.sort_values("id", key=lambda ids: ids.map(places), kind="stable", ignore_index=True)
    with whole(folder / RESCORED) as partial:
        frame.to_parquet(partial, index=False)
    return frame


def _kept_rows(path: Path) -> pd.DataFrame:
    """Return what has been scored before; rows of earlier versions have no source."""
    columns = [*COLUMNS, SOURCE]
    return (pd.read_parquet(path) if path.is_file() else pd.DataFrame(columns=columns)).reindex(
        columns=columns
    )


def _scored(jobs: Sequence[_Job], workers: int) -> list[dict[str, Any]]:
    """Score in as many processes as are worth starting: this one alone, where there is little to do."""
    if min(workers, len(jobs)) < 2:
        return [row for job in jobs for row in _score_all(job)]
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        return [row for scored in pool.map(_score_all, jobs) for row in scored]


def _how_to_keep(study: Study) -> str:
    """Return how predictions come to be: by training in another folder, since complete trials are never run again."""
    (run,) = study.commands
    keep = "" if study.keep == "all" else f"Remove 'keep: {study.keep}' from the study. "
    again = run.replace("medctx run", "medctx rescore", 1)
    return (
        f"{keep}Trials that are here without predictions (published ones, or kept without) are not run again: "
        f"give '{run} --results NEW' with a new folder, and then '{again} --results NEW'."
    )


@dataclass(frozen=True)
class _Job:
    """The predictions of one role of one trial."""

    id: str
    role: str
    dataset: str
    data_root: Path | None
    cases: tuple[str, ...]
    folder: Path

    def prediction(self, case: str) -> Path:
        return self.folder / f"{case}.{self.role}{_SUFFIX}"

    @cached_property
    def source(self) -> str:
        """The checksum of the predictions, of the record's scores that they are held to, and of the variants."""
        digest = sha256(repr((VARIANTS, DEFAULT_METRICS)).encode())
        for path in (self.folder.parent / "cases.parquet", *map(self.prediction, self.cases)):
            digest.update(sha256(path.read_bytes()).digest() if path.is_file() else b"missing")
        return digest.hexdigest()


def _jobs(study: Study, results: Path, data_root: Path | None) -> Iterator[_Job]:
    store, known = Store(results, writable=False), dict[str, set[str]]()
    for cell in study.cells:
        record, folder = store.record(cell.spec.id), results / "trials" / cell.spec.id / "predictions"
        if record is None or record.status != "complete" or record.protocol is None or not folder.is_dir():
            continue
        name = cell.spec.dataset.name
        if name not in known:
            known[name] = {case.id for case in registry.load("dataset", name)().cases(data_root)}
        missing = [id for id in record.protocol.test_cases if id not in known[name]]
        if missing:
            raise UserError(
                f"dataset {name}", f"no case {missing[0]}", f"the test cases of trial {cell.spec.id}",
                "Name the data root that it was trained on with --data.",
            )  # fmt: skip
        cases = tuple(record.protocol.test_cases)
        roles = {path.name.removesuffix(_SUFFIX).rpartition(".")[2] for path in folder.glob(f"*{_SUFFIX}")}
        for role in sorted(roles):
            yield _Job(cell.spec.id, role, name, data_root, cases, folder)


def _score_all(job: _Job) -> list[dict[str, Any]]:
    dataset = registry.load("dataset", job.dataset)()
    cases = {case.id: case for case in dataset.cases(job.data_root)}  # a folder says now what its labels are
    regions, ignore = dataset.training_regions(), dataset.training_ignore()
    every = {name: (value,) for value, name in dataset.training_labels().items() if value}
    rows: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in VARIANTS}
    for id in job.cases:
        reference = dataset.training_label(cases[id])
        kept = read_label(job.prediction(id), dataset.labels).array
        prediction = dataset.to_training(kept)
        cleaned = largest_components(prediction, [value for (value,) in every.values()])
        for (largest, all_labels), variants in _variants_by_maps().items():
            maps = without_ignored(cleaned if largest else prediction, reference.array, ignore)
            conventions = [variant.convention for variant in variants]
            scored = score_case_by(conventions, *maps, reference.spacing, every if all_labels else regions)
            for variant, own in zip(variants, scored, strict=True):
                rows[variant.name] += [{"case": id, **row} for row in own]
    _check_unchanged(job, rows[VARIANTS[0].name])
    return [
        {"id": job.id, "role": job.role, "variant": variant.name, "metric": one.metric, "value": one.mean,
         "misses": one.misses, SOURCE: job.source}
        for variant in VARIANTS
        for one in summarise(rows[variant.name], variant.convention)
        if one.region == OVER_REGIONS
    ]  # fmt: skip


def _variants_by_maps() -> dict[tuple[bool, bool], list[Variant]]:
    """Return the variants that are scored from the same maps and regions together."""
    found: dict[tuple[bool, bool], list[Variant]] = {}
    for variant in VARIANTS:
        found.setdefault((variant.largest_component, variant.every_label), []).append(variant)
    return found


def _check_unchanged(job: _Job, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse files that do not give the scores of the trial's record by the convention that it was scored by."""
    recorded = pd.read_parquet(job.folder.parent / "cases.parquet", filters=[("role", "==", job.role)])
    keys = ["case", "region", "metric"]
    both = recorded.merge(pd.DataFrame(rows), on=keys, suffixes=("", "_now"))
    same = np.isclose(both["value"], both["value_now"], rtol=ROUNDING, atol=1e-6, equal_nan=True)
    if not same.all():
        other = both[~same].iloc[0]
        raise UserError(
            job.prediction(other["case"]),
            f"{other['metric']} {other['value_now']:.4f} of {other['region']}",
            f"{other['value']:.4f}, as the record has it",
            "The prediction or the reference has changed since; name the data root of the trial with --data.",
        )


def largest_components(labels: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.uint8]:
    """Return labels ``(X, Y, Z)`` without all but the largest face-connected component of each value."""
    kept = labels.copy()
    for value in values:
        parts, count = ndimage.label(labels == value)
        if count > 1:
            sizes = np.bincount(parts.ravel())
            kept[(parts > 0) & (parts != 1 + int(sizes[1:].argmax()))] = 0
    return kept


def variant_descriptions() -> Mapping[str, str]:
    """Return what each variant does differently."""
    return {variant.name: variant.description for variant in VARIANTS}
