"""Preprocessing once per host: a memory-mapped cache that all trials share.

A cache is a folder named by the hash of what it was made from: the dataset, the contents of its files, spacing,
intensity rule, crop and resampling. So a changed source makes another cache. It is built under a lock in another
folder and renamed when it is complete, so nobody sees a half-written one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import nibabel
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from harness.data.caches import cache_root
from harness.data.datasets.contract import Case, Dataset
from harness.data.grid_rules import on_grid_of
from harness.data.images import preprocess_image
from harness.data.native_grid import NativeGrid
from harness.data.resampling import resample_labels_linear, resample_nearest
from harness.data.volume import Volume
from harness.errors import UserError
from harness.files.whole import write_text
from harness.seeding import numpy_generator
from harness.spec import Recipe, digest

_VERSION = 6  # of the rules in this file
_WAIT = 5.0  # seconds between heartbeats while another process builds a cache
_POINTS = 20_000  # labelled voxels kept per label and case, to centre patches on


class LabelsLocked(Exception):
    """Something asked for test labels before the selection was frozen."""


class CaseCache:
    """Preprocessed cases of one dataset, read by memory map.

    Attributes:
        contents: hash of the files of each case.
        content: hash of all of them.
        locked: ids of cases whose labels cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = json.loads((folder / "index.json").read_text())
        self.contents: dict[str, str] = index["contents"]
        self.content = digest(self.contents)
        self.locked: frozenset[str] = frozenset()
        self._cases: dict[str, dict[str, Any]] = index["cases"]

    def with_locked(self, cases: Iterable[str]) -> CaseCache:
        """Return the same cache, with the labels of ``cases`` and of no others locked."""
        other = copy(self)
        other.locked = frozenset(cases)
        return other

    def _labels(self, case: str, kind: str) -> NDArray[Any]:
        """Return what is made from a case's labels.

        Raises:
            LabelsLocked: they are locked.
        """
        if case in self.locked:
            raise LabelsLocked(f"the labels of {case} were asked for before the selection was frozen")
        return np.load(self.folder / f"{case}.{kind}.npy", mmap_mode="r")

    def image(self, case: str) -> NDArray[np.float32]:
        """Return ``(C, X, Y, Z)``, RAS, at the recipe's spacing, intensities normalised."""
        return np.load(self.folder / f"{case}.image.npy", mmap_mode="r")

    def label(self, case: str) -> NDArray[np.uint8]:
        """Return ``(X, Y, Z)`` on the grid of ``image``, in training numbers as all that follows."""
        return self._labels(case, "label")

    def foreground(self, case: str) -> NDArray[np.int32]:
        """Return rows of (label, x, y, z), labelled voxels to centre patches on, sorted by label."""
        return self._labels(case, "foreground")

    def native_reference(self, case: str) -> Volume:
        """Return the labels on the grid of their file."""
        meta = self._cases[case]
        return _native(meta, self._labels(case, "native" if meta["changed"] else "label"))

    def native_grid(self, case: str) -> NativeGrid:
        """Return where a case lies in its file."""
        meta = self._cases[case]
        x, y, z = meta["shape"]
        box = tuple((first, last) for first, last in meta["box"])
        return NativeGrid(np.array(meta["affine"]), tuple(meta["spacing"]), (x, y, z), box)

    def to_native(
        self, case: str, probabilities: Iterable[NDArray[np.float32]], rule: str = "linear"
    ) -> Volume:
        """Return the most probable label on the grid of the case's file.

        Args:
            case: the case's id.
            probabilities: of each class ``(X, Y, Z)`` on the grid of ``image``. What was cropped away is background.
            rule: how they are resampled where the file has another spacing, as ``recipe.output_resampling``.
        """
        return _native(self._cases[case], self.native_grid(case).labels(probabilities, rule))


def _native(meta: Mapping[str, Any], labels: NDArray[Any]) -> Volume:
    """Return labels with the place of their file."""
    return Volume(labels, np.array(meta["affine"]), tuple(meta["spacing"]))


def prepare(
    dataset: Dataset,
    name: str,
    cases: Sequence[Case],
    recipe: Recipe,
    heartbeat: Callable[[], None] = lambda: None,
) -> CaseCache:
    """Return the cache of ``cases``, built first where this host has none.

    Args:
        dataset: reads the cases.
        name: the dataset's registered name.
        cases: what to preprocess.
        recipe: its spacing, intensity, crop and resampling are applied.
        heartbeat: called after each case, and every few seconds while another process builds the cache.

    Raises:
        UserError: a file is broken, or the cache's folder cannot be written.
    """
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        contents = _contents(dataset, name, cases, root, heartbeat)
        rules = [recipe.spacing, recipe.intensity, recipe.crop, recipe.resampling, recipe.label_resampling]
        levels = [recipe.intensity_levels] if recipe.intensity_levels else []
        numbered = [] if dataset.numbering().same else [dataset.described()]
        key = digest([_VERSION, name, dataset.version, *rules, contents, *levels, *numbered])
        folder = root / f"{name.replace(os.sep, '_').replace(':', '_')}-{key}"
        if not (folder / "index.json").is_file():
            with _locked(folder, heartbeat):
                if not (folder / "index.json").is_file():
                    _build(dataset, cases, recipe, contents, folder, heartbeat)
    except OSError as error:
        raise UserError(
            root, f"a cache that cannot be written ({error})", "a writable folder with room",
            "Name another with the environment variable MEDCTX_CACHE.",
        ) from error  # fmt: skip
    return _open(folder)


@contextmanager
def _locked(folder: Path, heartbeat: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a cache; ``heartbeat`` is called while another process builds it."""
    lock = FileLock(f"{folder}.lock")
    while True:
        try:
            lock.acquire(timeout=_WAIT)
            break
        except Timeout:
            heartbeat()
    try:
        yield
    finally:
        lock.release()


_open = lru_cache(maxsize=8)(CaseCache)


def _contents(
    dataset: Dataset, name: str, cases: Sequence[Case], root: Path, heartbeat: Callable[[], None]
) -> dict[str, str]:
    """Return case id -> content hash; files whose size and time have not changed are not read again."""
    described = dataset.described()  # of a folder: by its dataset.json
    path = root / f"contents-{digest([name, described, [str(case.image) for case in cases]])}.json"
    stamps = {case.id: _stamp(case) for case in cases if case.files}
    known = _known(path, stamps)
    if len(known) < len(stamps):
        with _locked(path, heartbeat):  # one process reads for all that start together
            known = _known(path, stamps)
            unknown = [case for case in cases if case.files and case.id not in known]
            known |= {case.id: [stamps[case.id], _content(dataset, case)] for case in unknown}
            if unknown:
                write_text(path, json.dumps(known))
    made = {case.id: _content(dataset, case) for case in cases if not case.files}
    return made | {id: content for id, (_, content) in known.items()}


def _known(path: Path, stamps: Mapping[str, list[list[int]]]) -> dict[str, Any]:
    """Return stamp and hash of the cases whose files are as they were when they were read."""
    entries: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return {id: entry for id, entry in entries.items() if id in stamps and entry[0] == stamps[id]}


def _stamp(case: Case) -> list[list[int]]:
    """Return size and time of each file of a case.

    Raises:
        UserError: one is missing.
    """
    stamp = []
    for file in case.sources:
        if not file.is_file():
            raise UserError(
                file, "no such file", "a file of the dataset", "Restore it, or exclude its case by name."
            )
        found = file.stat()
        stamp.append([found.st_size, found.st_mtime_ns])
    return stamp


def _content(dataset: Dataset, case: Case) -> str:
    try:
        return dataset.content(case)
    except OSError as error:  # not to be taken for an error of the cache
        raise UserError(
            error.filename or case.image or case.id,
            f"a file that cannot be read ({error.strerror or error})", "a readable file",
            "Correct its permissions, or fetch it again.",
        ) from error  # fmt: skip


def _build(
    dataset: Dataset,
    cases: Sequence[Case],
    recipe: Recipe,
    contents: Mapping[str, str],
    folder: Path,
    heartbeat: Callable[[], None],
) -> None:
    prefix = f".{folder.name}."
    for left in folder.parent.glob(f"{prefix}*"):  # of a killed process: the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    partial = folder.with_name(f"{prefix}{uuid4().hex}")
    partial.mkdir()  # with the rights that umask and folder give, so that a group can share it
    try:
        metas = {}
        for case in cases:
            metas[case.id] = _preprocess(dataset, case, recipe, partial)
            heartbeat()
        (partial / "index.json").write_text(json.dumps({"contents": contents, "cases": metas}))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _preprocess(dataset: Dataset, case: Case, recipe: Recipe, folder: Path) -> dict[str, Any]:
    image, label = dataset.image(case), dataset.training_label(case)
    label = on_grid_of(label, image, case.label or case.id, case.image or case.id)
    array, grid = preprocess_image(image, recipe)
    labels, shape = nibabel.apply_orientation(label.array, grid.to_ras)[grid.kept], array.shape[1:]
    if shape != labels.shape:
        linear = recipe.label_resampling == "linear"
        labels = (
            resample_labels_linear(labels, shape, grid.ras_spacing)
            if linear
            else resample_nearest(labels, shape)
        )
    np.save(folder / f"{case.id}.image.npy", array)
    np.save(folder / f"{case.id}.label.npy", np.ascontiguousarray(labels, dtype=np.uint8))
    np.save(folder / f"{case.id}.foreground.npy", _foreground(labels, case.id, dataset.training_ignore()))
    changed = labels.shape != label.array.shape or not np.array_equal(grid.to_ras, [[0, 1], [1, 1], [2, 1]])
    if changed:
        np.save(folder / f"{case.id}.native.npy", label.array)
    return {
        "affine": image.affine.tolist(),
        "spacing": image.spacing,
        "shape": list(label.array.shape),
        "box": [list(ends) for ends in grid.box],
        "changed": changed,
    }


def _foreground(labels: NDArray[np.uint8], case: str, ignore: int | None) -> NDArray[np.int32]:
    rows = []
    for value in np.unique(labels[labels > 0]).tolist():
        if value == ignore:
            continue
        points = np.argwhere(labels == value)
        if len(points) > _POINTS:
            chosen = numpy_generator("foreground", case, value).choice(len(points), _POINTS, replace=False)
            points = points[np.sort(chosen)]
        rows.append(np.column_stack([np.full(len(points), value), points]))
    return np.concatenate(rows).astype(np.int32) if rows else np.zeros((0, 4), np.int32)
