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
from scipy import ndimage

from harness.data.caches import cache_root
from harness.data.datasets.contract import Case, Dataset
from harness.data.grid_rules import on_grid_of
from harness.data.resampling import resample_cubic, resample_labels_linear, resample_linear, resample_nearest
from harness.data.volume import Volume
from harness.errors import UserError
from harness.files.whole import write_text
from harness.seeding import numpy_generator
from harness.spec import Recipe, digest

_VERSION = 5  # of the rules in this file
CT_WINDOW = (-175.0, 250.0)  # HU
_SYNAPSE_CLIP, _SYNAPSE_MEAN, _SYNAPSE_SD = (-958.0, 326.0), 82.95, 136.95  # HU
_WAIT = 5.0  # seconds between heartbeats while another process builds a cache
_POINTS = 20_000  # labelled voxels kept per label and case, to centre patches on


class LabelsLocked(Exception):
    """Something asked for test labels before the selection was frozen."""


class CaseCache:
    """Preprocessed cases of one dataset, read by memory map.

    Attributes:
        content: hash of the contents of all source files.
        locked: ids of cases whose labels cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = json.loads((folder / "index.json").read_text())
        self.content: str = index["content"]
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

    def to_native(self, case: str, probabilities: NDArray[np.float32]) -> Volume:
        """Return the most probable label on the grid of the case's file.

        Args:
            case: the case's id.
            probabilities: ``(classes, X, Y, Z)`` on the grid of ``image``; resampled linearly where the
                file has another spacing. What was cropped away is background.
        """
        meta = self._cases[case]
        if not meta["changed"]:
            return _native(meta, probabilities.argmax(axis=0).astype(np.uint8))
        box = tuple(slice(first, last) for first, last in meta["box"])
        shape = tuple(part.stop - part.start for part in box)
        if shape != probabilities.shape[1:]:
            probabilities = np.stack([resample_linear(channel, shape) for channel in probabilities])
        to_ras = nibabel.io_orientation(np.array(meta["affine"]))
        labels = np.zeros(np.array(meta["shape"])[np.argsort(to_ras[:, 0])], np.uint8)
        labels[box] = probabilities.argmax(axis=0)
        from_ras = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), to_ras)
        return _native(meta, nibabel.apply_orientation(labels, from_ras))


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
        content = digest(contents)
        rules = [recipe.spacing, recipe.intensity, recipe.crop, recipe.resampling, recipe.label_resampling]
        numbered = [] if dataset.numbering().same else [dataset.described()]
        key = digest([_VERSION, name, dataset.version, *rules, contents, *numbered])
        folder = root / f"{name.replace(os.sep, '_').replace(':', '_')}-{key}"
        if not (folder / "index.json").is_file():
            with _locked(folder, heartbeat):
                if not (folder / "index.json").is_file():
                    _build(dataset, cases, recipe, content, folder, heartbeat)
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
    content: str,
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
        (partial / "index.json").write_text(json.dumps({"content": content, "cases": metas}))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _preprocess(dataset: Dataset, case: Case, recipe: Recipe, folder: Path) -> dict[str, Any]:
    image, label = dataset.image(case), dataset.training_label(case)
    label = on_grid_of(label, image, case.label or case.id, case.image or case.id)
    to_ras = nibabel.io_orientation(image.affine)
    spacing = np.array(image.spacing)[np.argsort(to_ras[:, 0])]
    channels = np.stack([nibabel.apply_orientation(channel, to_ras) for channel in image.array])
    labels = nibabel.apply_orientation(label.array, to_ras)
    whole = tuple(slice(0, side) for side in labels.shape)
    box = _content_box(channels, recipe.intensity) if recipe.crop == "foreground" else whole
    channels, labels = channels[(slice(None), *box)], labels[box]
    rounded = np.round(np.array(labels.shape) * spacing / recipe.spacing)
    shape = tuple(np.maximum(1, rounded).astype(int).tolist())
    if shape != labels.shape:
        cubic, mm = recipe.resampling == "cubic", spacing.tolist()
        channels = np.stack(
            [resample_cubic(one, shape, mm) if cubic else resample_linear(one, shape) for one in channels]
        )
        linear = recipe.label_resampling == "linear"
        labels = resample_labels_linear(labels, shape, mm) if linear else resample_nearest(labels, shape)
    array = np.stack([normalise(channel, recipe.intensity) for channel in channels])
    np.save(folder / f"{case.id}.image.npy", np.ascontiguousarray(array, dtype=np.float32))
    np.save(folder / f"{case.id}.label.npy", np.ascontiguousarray(labels, dtype=np.uint8))
    np.save(folder / f"{case.id}.foreground.npy", _foreground(labels, case.id, dataset.training_ignore()))
    changed = labels.shape != label.array.shape or not np.array_equal(to_ras, [[0, 1], [1, 1], [2, 1]])
    if changed:
        np.save(folder / f"{case.id}.native.npy", label.array)
    return {
        "affine": image.affine.tolist(),
        "spacing": image.spacing,
        "shape": list(label.array.shape),
        "box": [[part.start, part.stop] for part in box],
        "changed": changed,
    }


def _content_box(channels: NDArray[Any], rule: str) -> tuple[slice, ...]:
    """Return the smallest box of what is above the CT window's floor or, by other rules, of what is not 0."""
    content = ((channels > CT_WINDOW[0]) if rule == "ct_soft_tissue" else (channels != 0)).any(axis=0)
    boxes = ndimage.find_objects(content.astype(np.uint8))
    return boxes[0] if boxes else tuple(slice(0, side) for side in content.shape)


def normalise(channel: NDArray[Any], rule: str) -> NDArray[np.float32]:
    """Return a channel with its intensity rule applied.

    - ``zscore``: zero mean and unit standard deviation. ``zscore_clipped``: the same after clipping at the
      percentiles 0.5 and 99.5, for images with outliers. ``zscore_nonzero``: the same within what is not 0,
      which stays 0, for skull-stripped MRI.
    - ``ct_soft_tissue``: -175 to 250 HU to 0 to 1, clipped (UNETR's BTCV pipeline). ``ct_synapse``: clipped at
      and normalised by the foreground statistics of Synapse that nnFormer and UNETR++ use.
    - ``none``: as it is.
    """
    values = np.asarray(channel, dtype=np.float32)
    if rule == "none":
        return values
    if rule == "ct_soft_tissue":
        low, high = CT_WINDOW
        return (np.clip(values, low, high) - np.float32(low)) / np.float32(high - low)
    if rule == "ct_synapse":
        return (np.clip(values, *_SYNAPSE_CLIP) - np.float32(_SYNAPSE_MEAN)) / np.float32(_SYNAPSE_SD)
    if rule == "zscore_clipped":
        values = np.clip(values, *np.percentile(values, (0.5, 99.5)))
    inside = values != 0 if rule == "zscore_nonzero" else np.True_
    chosen = values[inside] if rule == "zscore_nonzero" else values
    if not chosen.size:
        return values
    deviation = float(chosen.std(dtype=np.float64))
    scaled = (values - chosen.mean(dtype=np.float64)) / max(deviation, 1e-8)
    return np.where(inside, scaled, 0).astype(np.float32)


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
