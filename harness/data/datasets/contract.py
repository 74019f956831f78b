"""What a dataset is: cases found on disk, labels, regions, and its default protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError


@dataclass(frozen=True)
class Case:
    """One labelled volume and whom it belongs to; paths are None where a dataset makes its volumes."""

    id: str
    patient: str
    image: Path | None = None
    label: Path | None = None


@dataclass(frozen=True)
class Volume:
    """An array on the grid of its file: ``(C, X, Y, Z)`` for an image, ``(X, Y, Z)`` for labels.

    ``affine`` maps voxel indices to millimetres in RAS.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each array axis, mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return (x, y, z)


@dataclass(frozen=True)
class Fractions:
    """Shares of patients of a generated split; what is left is for testing."""

    train: float
    validation: float


class Dataset:
    """Base of all datasets. Derive, set the class attributes, write ``cases``.

    Attributes:
        channels: names of the image channels.
        labels: label value -> name, background (0) included.
        regions: scored region -> label values; by default every label but background.
        recipe: the default protocol, as keys of ``harness.spec.Recipe``.
        fractions: of the generated split.
        folder: name of the dataset's folder below the data root.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str]
    source: ClassVar[str]
    channels: ClassVar[tuple[str, ...]]
    labels: ClassVar[Mapping[int, str]]
    regions: ClassVar[Mapping[str, tuple[int, ...]] | None] = None
    recipe: ClassVar[Mapping[str, Any]]
    fractions: ClassVar[Fractions] = Fractions(train=0.65, validation=0.10)
    folder: ClassVar[str | None] = None

    @classmethod
    def scored_regions(cls) -> dict[str, tuple[int, ...]]:
        """Return the regions that are scored, in the order in which they are reported."""
        if cls.regions is not None:
            return dict(cls.regions)
        return {name: (value,) for value, name in cls.labels.items() if value != 0}

    def cases(self, root: Path | None) -> list[Case]:
        """Return the labelled cases below the data root, sorted by id.

        Raises:
            UserError: the data root lacks the dataset, or its listing is broken.
        """
        raise NotImplementedError

    def image(self, case: Case) -> Volume:
        """Return the image ``(C, X, Y, Z)`` float32.

        Raises:
            UserError: the file is unreadable, or holds NaN or infinity.
        """
        from harness.data.nifti import read_image

        assert case.image is not None
        return read_image(case.image, channels=len(self.channels))

    def label(self, case: Case) -> Volume:
        """Return the labels ``(X, Y, Z)`` uint8.

        Raises:
            UserError: the file is unreadable, or holds a value that ``labels`` does not declare.
        """
        from harness.data.nifti import read_label

        assert case.label is not None
        return read_label(case.label, allowed=self.labels)

    def content(self, case: Case) -> str:
        """Return a hash of the contents of a case's files."""
        hasher = hashlib.sha256()
        for path in (case.image, case.label):
            assert path is not None
            with path.open("rb") as file:
                hasher.update(hashlib.file_digest(file, "sha256").digest())
        return hasher.hexdigest()[:16]

    def find_folder(self, root: Path | None, name: str) -> Path:
        """Return the dataset's folder below the data root.

        Raises:
            UserError: no data root was named, or it lacks the folder.
        """
        assert self.folder is not None
        if root is None:
            raise UserError(
                f"dataset {name!r}", "no data root", f"a folder that holds {self.folder}",
                "Name it with --data DIR or the environment variable MEDCTX_DATA.",
            )  # fmt: skip
        folder = root / self.folder
        if not folder.is_dir():
            folders = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
            present = [*folders[:5], "…"] if len(folders) > 5 else folders
            raise UserError(
                root, f"no folder {self.folder} (present: {', '.join(present) or 'none'})",
                f"the dataset {name!r}", f"Put {self.folder} there, or name another data root with --data DIR.",
            )  # fmt: skip
        return folder


def unique_cases(cases: Sequence[Case], where: Path) -> list[Case]:
    """Return the cases sorted by id.

    Raises:
        UserError: two cases share an id.
    """
    ordered = sorted(cases, key=lambda case: case.id)
    for one, other in pairwise(ordered):
        if one.id == other.id:
            raise UserError(
                where, f"case id {one.id!r} twice", "unique case ids", "Remove one of the two entries."
            )
    return ordered
