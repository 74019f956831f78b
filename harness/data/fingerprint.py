"""What rules for a new dataset go by: the grids of its cases, and the intensities of what is labelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from harness.data.datasets.contract import Case, Dataset
from harness.data.grid_rules import on_grid_of
from harness.data.images import content_box
from harness.data.nifti import grid_of
from harness.data.splits import find_split
from harness.data.volume import Volume
from harness.errors import UserError
from harness.seeding import numpy_generator
from harness.spec import DatasetSpec, Triple

Spacing = tuple[float, float, float]
_VOXELS = 10_000  # labelled ones of a case whose intensities are looked at


@dataclass(frozen=True)
class Grid:
    """Sides in voxels and their size in mm, in RAS order."""

    shape: Triple
    spacing: Spacing


@dataclass(frozen=True)
class Levels:
    """Intensities of labelled voxels: the percentiles 0.5 and 99.5, mean and standard deviation."""

    low: float
    high: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class Fingerprint:
    """A dataset in a few numbers.

    Attributes:
        channels: their names.
        labels: names of all labels but background.
        grids: of each case; of the box around what is not 0, where voxels were read.
        share: median share of a volume that this box takes; None where only headers were read.
        levels: of CT, where voxels were read.
    """

    channels: tuple[str, ...]
    labels: tuple[str, ...]
    grids: tuple[Grid, ...]
    share: float | None = None
    levels: Levels | None = None

    @property
    def classes(self) -> int:
        """Number of labels with background."""
        return len(self.labels) + 1

    @property
    def is_ct(self) -> bool:
        """Whether every channel is called CT, which is how nnU-Net tells."""
        return all(name.casefold() == "ct" for name in self.channels)


def read_headers(dataset: Dataset, root: Path | None) -> Fingerprint:
    """Return what headers alone tell of a dataset's cases, but for the test cases that its folder has apart.

    Raises:
        UserError: the data are not there, or a header is broken.
    """
    cases = [case for case in dataset.cases(root) if not case.test]
    return _fingerprint(dataset, [_grid_of_file(case) for case in cases])


def read_voxels(
    dataset: Dataset,
    name: str,
    root: Path | None,
    on_progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Fingerprint:
    """Return the fingerprint of a dataset's cases, but for the test cases that its folder has apart.

    Labels are read of CT alone, and none of a case for testing by the dataset's default split.

    Args:
        dataset: whose.
        name: by which a study calls it.
        root: data root.
        on_progress: told how many cases were read, of how many.

    Raises:
        UserError: the data are not there, or a file is broken.
    """
    everything = dataset.cases(root)
    cases = [case for case in everything if not case.test]
    grids, shares, values = [], [], []
    looked_at: set[str] = set()
    if _fingerprint(dataset, []).is_ct:
        looked_at = {*_not_for_testing(dataset, name, everything, dataset.is_twin(root))}
    for index, case in enumerate(cases):
        image = dataset.image(case)
        box = content_box(image.array, "none")
        sides = [part.stop - part.start for part in box]
        grids.append(_grid(image.affine, sides, image.spacing))
        shares.append(float(np.prod(sides) / np.prod(image.array.shape[1:])))
        if case.id in looked_at:
            values.append(_labelled_values(dataset, case, image))
        on_progress(index + 1, len(cases))
    return _fingerprint(dataset, grids, float(np.median(shares)), _levels(values))


def _fingerprint(
    dataset: Dataset, grids: Sequence[Grid], share: float | None = None, levels: Levels | None = None
) -> Fingerprint:
    labels = tuple(name for value, name in dataset.labels.items() if value)
    return Fingerprint(tuple(dataset.channels), labels, tuple(grids), share, levels)


def _not_for_testing(dataset: Dataset, name: str, cases: Sequence[Case], twin: bool) -> tuple[str, ...]:
    shipped = dataset.splits[0] if dataset.splits else None
    spec = DatasetSpec(name=name, version=dataset.version, split_name=shipped)
    split = find_split(dataset, spec, [case for case in cases if not case.test], twin)
    return (*split.train, *split.validation)


def _grid_of_file(case: Case) -> Grid:
    assert case.image is not None
    found = grid_of(case.image)
    if found is None:
        raise UserError(
            case.image, "a header that cannot be read", "that of a volume", "Fetch the file again, or check the dataset."
        )  # fmt: skip
    affine, shape = found
    return _grid(affine, shape, Volume(np.empty(0), affine).spacing)


def _grid(affine: NDArray[np.float64], shape: Sequence[int], spacing: Sequence[float]) -> Grid:
    """Return a grid with its axes in RAS order."""
    order = np.argsort(nibabel.io_orientation(affine)[:, 0]).tolist()
    x, y, z = (int(shape[axis]) for axis in order)
    dx, dy, dz = (float(spacing[axis]) for axis in order)
    return Grid((x, y, z), (dx, dy, dz))


def _labelled_values(dataset: Dataset, case: Case, image: Volume) -> NDArray[np.float32]:
    """Return intensities of labelled voxels of a case, of all channels: drawn at random where there are many."""
    label = on_grid_of(
        dataset.training_label(case), image, case.label or case.id, case.image or case.id
    ).array
    inside = (label > 0) & (label != dataset.training_ignore())
    values = image.array[:, inside].ravel()
    if values.size <= _VOXELS:
        return values
    return numpy_generator("fingerprint", case.id).choice(values, _VOXELS, replace=False)


def _levels(values: Sequence[NDArray[np.float32]]) -> Levels | None:
    every = np.concatenate([*values, np.zeros(0)])
    if not every.size:
        return None
    low, high = np.percentile(every, (0.5, 99.5)).tolist()
    return Levels(low, high, float(every.mean()), float(every.std()))
