"""The two numberings of labels: that of a dataset's files, and that of networks and scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError

IGNORE = 255
"""Training number of a voxel that nobody has labelled: it counts in no loss and in no score."""
_MOST = 2**32 - 1


class Numbering:
    """Which number of a file is which training number; both ascend.

    They are the same where every label is a byte and none is ignored. Otherwise training numbers are consecutive
    from 0, the background, and ignored voxels are :data:`IGNORE`.

    Attributes:
        same: whether both numberings are the same.
        values: number in a file -> training number, the ignored one not among them.

    Args:
        labels: the values that a dataset declares.
        ignore: the value of ignored voxels, if there is one.
        where: what an error is to name.

    Raises:
        UserError: a value is no whole number from 0, there are more than fit into a byte, or the ignored value is
            a label's too.
    """

    def __init__(self, labels: Iterable[int], ignore: int | None, where: object) -> None:
        known = list(labels)
        for value in (*known, *(() if ignore is None else (ignore,))):
            if not _is_number(value):
                raise UserError(
                    where, f"the label {value!r}", f"whole numbers from 0 to {_MOST}", "Correct the labels."
                )
        if ignore in known or ignore == 0:
            raise UserError(
                where, f"{ignore} as the ignored label and as a label", "a number of its own for ignored voxels",
                "Correct the labels.",
            )  # fmt: skip
        self.ignore, self._where = ignore, where
        self.same = ignore is None and max(known, default=0) <= 255
        ascending = sorted({0, *known})
        most = 256 if ignore is None else IGNORE
        if not self.same and len(ascending) > most:
            raise UserError(
                where,
                f"{len(ascending)} labels",
                f"{most} at most, background included",
                "Join some of them.",
            )
        self.values = {
            int(value): int(value) if self.same else index for index, value in enumerate(ascending)
        }

    def to_training(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a map of the files' numbers in training numbers, uint8.

        Raises:
            UserError: the map has a value that is not declared.
        """
        if not self.same:
            return self._translated(array, self._pairs(), np.dtype(np.uint8))
        if array.dtype == np.uint8:
            return array
        narrow = array.astype(np.uint8)
        if not np.array_equal(narrow, array):
            raise self._undeclared(array[narrow != array])
        return narrow

    def to_file(self, array: NDArray[np.uint8]) -> NDArray[Any]:
        """Return a map of training numbers in the files' numbers, of the smallest type that holds all of them."""
        if self.same:
            return array
        pairs = {training: value for value, training in self._pairs().items()}
        return self._translated(array, pairs, np.min_scalar_type(max(pairs.values())))

    def regions(self, regions: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Return regions of the files' numbers in training numbers.

        Raises:
            UserError: a region has a value that is not declared, where the numberings differ.
        """
        if self.same:
            return dict(regions)
        undeclared = {value for own in regions.values() for value in own} - self.values.keys()
        if undeclared:
            raise self._undeclared(np.array(sorted(undeclared)))
        return {name: tuple(self.values[value] for value in own) for name, own in regions.items()}

    def _pairs(self) -> dict[int, int]:
        return self.values if self.ignore is None else {**self.values, int(self.ignore): IGNORE}

    def _translated(self, array: NDArray[Any], pairs: dict[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
        source = np.array(sorted(pairs))
        target = np.array([pairs[value] for value in source.tolist()]).astype(dtype)
        out = np.empty_like(array, dtype=dtype)
        for index, plane in enumerate(array.T):  # one after another: indices take eight bytes a voxel
            places = np.searchsorted(source, plane).clip(max=len(source) - 1)
            if not np.array_equal(source[places], plane):
                raise self._undeclared(plane[source[places] != plane])
            out.T[index] = target[places]
        return out

    def _undeclared(self, values: NDArray[Any]) -> UserError:
        return UserError(
            self._where, f"label values {np.unique(values).tolist()[:5]}",
            f"values among {sorted(self._pairs())}", "Correct the file, or declare the label in the dataset.",
        )  # fmt: skip


def _is_number(value: Any) -> bool:
    """Return whether a label can be one: a whole number that four bytes hold."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and 0 <= value <= _MOST and value == int(value)
