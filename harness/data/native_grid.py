"""The way back from the grid of a network to that of an image's file.

This file and what it imports need nothing else of the harness: ``medctx export`` puts copies of them into a bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from harness.data.resampling import most_probable_on, resample_linear, resample_within_slices


@dataclass(frozen=True)
class NativeGrid:
    """Where an image lies in its file, and which part of it was preprocessed.

    Attributes:
        affine: of the file, maps voxel indices to millimetres in RAS.
        spacing: along the axes of the file, mm.
        shape: of the file, voxels.
        box: first voxel and the one after the last that was kept, for each axis of the image in RAS order.
    """

    affine: NDArray[np.float64]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    box: tuple[tuple[int, int], ...]

    @property
    def to_ras(self) -> NDArray[Any]:
        """How the file's axes are turned to RAS, as nibabel's orientation."""
        return nibabel.io_orientation(self.affine)

    @property
    def ras_shape(self) -> tuple[int, ...]:
        """The lengths of the axes in RAS order."""
        return tuple(int(side) for side in np.array(self.shape)[np.argsort(self.to_ras[:, 0])])

    @property
    def ras_spacing(self) -> list[float]:
        """The spacing along the axes in RAS order, mm."""
        return np.array(self.spacing)[np.argsort(self.to_ras[:, 0])].tolist()

    @property
    def kept(self) -> tuple[slice, ...]:
        """The box as slices of an array in RAS order."""
        return tuple(slice(first, last) for first, last in self.box)

    def resampled(self, channel: NDArray[np.float32], rule: str) -> NDArray[np.float32]:
        """Return a class's probabilities ``(X, Y, Z)`` on the grid of the box.

        Args:
            channel: on the grid of the network, which has the box's outer faces.
            rule: ``linear``, or ``within_slices``: linear, but nearest across slices that are far apart.
        """
        shape = tuple(last - first for first, last in self.box)
        if shape == channel.shape:
            return channel
        if rule == "within_slices":
            return resample_within_slices(channel, shape, self.ras_spacing)
        return resample_linear(channel, shape)

    def native(self, channels: Iterable[NDArray[np.float32]], rule: str) -> Iterator[NDArray[np.float32]]:
        """Yield each class's probabilities ``(X, Y, Z)``, the first background, on the whole grid in RAS order.

        What was cropped away is background.
        """
        for index, channel in enumerate(channels):
            yield self._uncropped(self.resampled(channel, rule), outside=float(index == 0))

    def _uncropped(self, channel: NDArray[np.float32], outside: float) -> NDArray[np.float32]:
        if channel.shape == self.ras_shape:
            return channel
        whole = np.full(self.ras_shape, outside, np.float32)
        whole[self.kept] = channel
        return whole

    def labels(self, channels: Iterable[NDArray[np.float32]], rule: str) -> NDArray[np.uint8]:
        """Return the most probable label on the grid of the file; what was cropped away is background."""
        labels = np.zeros(self.ras_shape, np.uint8)
        held = getattr(channels, "held", None)  # on a GPU: there, resampling takes no time
        if held is None:
            labels[self.kept] = most_probable(self.resampled(channel, rule) for channel in channels)
        else:
            spacing = self.ras_spacing if rule == "within_slices" else None
            labels[self.kept] = most_probable_on(held, labels[self.kept].shape, spacing)
        return self.turned_back(labels)

    def turned_back(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array in RAS order with its axes as in the file."""
        to_ras = self.to_ras
        if np.array_equal(to_ras, [[0, 1], [1, 1], [2, 1]]):
            return array
        ras = nibabel.orientations.axcodes2ornt("RAS")
        return nibabel.apply_orientation(array, nibabel.orientations.ornt_transform(ras, to_ras))


def most_probable(channels: Iterable[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Return the number of the channel with the highest value in each voxel, the first of equals; one is held at a time."""
    best: NDArray[np.float32] | None = None
    for index, channel in enumerate(channels):
        if best is None:
            best, labels = channel.copy(), np.zeros(channel.shape, np.uint8)
            del channel
            continue
        for own, highest, label in zip(channel, best, labels, strict=True):
            higher = own > highest
            highest[higher], label[higher] = own[higher], index
        del channel, own  # before the next one is made
    assert best is not None
    return labels


def mean_of(members: Sequence[Iterable[NDArray[np.float32]]]) -> Iterator[NDArray[np.float32]]:
    """Yield the mean of each channel over ``members`` on one grid; of one member, its channels themselves."""
    if len(members) == 1:
        yield from members[0]
        return
    first, *others = (iter(channels) for channels in members)
    for channel in first:
        total = channel.copy()
        del channel  # so that two are held at most, however many members there are
        for other in others:
            total += next(other)
        total /= len(members)
        yield total
        del total
