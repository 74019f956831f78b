"""Distances to the nearest voxel by k-d trees, for voxels that :mod:`harness.evaluation.surface` finds no near one for.

Memory stays bounded, however many voxels there are: they are held as flat indices, a part of them is turned
into coordinates at a time, and a tree holds no more than a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

FlatIndices = NDArray[np.signedinteger]  # flat indices
Coordinates = NDArray[np.signedinteger]  # (n, 3)
Histogram = tuple[NDArray[Any], NDArray[np.int64]]  # ascending values, and how often each occurs

_PART = 1 << 19  # voxels that are looked up at a time, and that one tree holds
_LEAF = 64  # voxels in a leaf of a tree: far queries take half the time that they take with 10
_BLOCK = 8  # side of the block of voxels whose distances are bounded by that of its centre


@dataclass(frozen=True)
class VoxelSet:
    """Some voxels of a volume.

    Attributes:
        places: ``(n,)`` flat, in C order.
        shape: of the volume.
    """

    indices: FlatIndices
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.indices)

    def parts(self) -> Iterator[Coordinates]:
        """Yield the coordinates of a part of the voxels at a time."""
        for begin in range(0, len(self), _PART):
            rest, last = np.divmod(self.indices[begin : begin + _PART], np.int32(self.shape[2]))
            first, middle = np.divmod(rest, np.int32(self.shape[1]))
            yield np.stack([first, middle, last], axis=1)

    def where(self, wanted: Callable[[Coordinates], NDArray[np.bool_]]) -> VoxelSet:
        """Return those of the voxels that are wanted."""
        chosen = [wanted(part) for part in self.parts()]
        return VoxelSet(self.indices[np.concatenate(chosen)], self.shape)


class NearestVoxel:
    """Looks up how far the nearest of some voxels is."""

    def __init__(self, targets: VoxelSet, scale: NDArray[np.float64]) -> None:
        self._goals, self._scale = targets, scale
        self._single_tree = (
            [self._build_tree(part) for part in targets.parts()] if len(targets) <= _PART else None
        )

    def distances(self, queries: NDArray[Any]) -> NDArray[np.float64]:
        """Return the distance of each query ``(m, 3)``, in voxels, to the nearest target.

        From the whole-numbered offset, so that it does not depend on where in the volume the two lie.
        """
        shortest = np.full(len(queries), np.inf)
        scaled = queries * self._scale
        for targets, tree in self._single_tree or map(self._build_tree, self._goals.parts()):
            _, nearest = tree.query(scaled)
            offsets = (queries - targets[nearest]) * self._scale
            np.minimum(shortest, np.sqrt((offsets**2).sum(axis=1)), out=shortest)
        return shortest

    def histogram(self, queries: VoxelSet) -> Histogram:
        """Return the distances of all queries."""
        return sum_histograms(_histogram(self.distances(part)) for part in queries.parts())

    def _build_tree(self, targets: Coordinates) -> tuple[Coordinates, KDTree]:
        # without compact nodes, far queries are twice as fast
        return targets, KDTree(targets * self._scale, _LEAF, compact_nodes=False, balanced_tree=False)


Search = tuple[VoxelSet, NearestVoxel]  # voxels, and what is looked up for them


def distances_at_ranks(
    searches: Sequence[Search], ranks: Sequence[int], scale: NDArray[np.float64]
) -> list[Histogram]:
    """Return, for each search, distances of which those at two ranks of all are exact.

    Few voxels are looked up. The distance of a voxel differs from that of the centre of its block by no more than
    the two are apart, so the distances of the centres bound those at the ranks, and only voxels near to these
    bounds are looked up. Shorter distances are given as their upper bounds, longer ones are left out.
    """
    block = np.maximum(1, np.round(_BLOCK * scale.min() / scale)).astype(np.int32)
    radius = float(np.linalg.norm((block - 1) / 2 * scale)) * (1 + 1e-9)
    grids = [_Blocks(queries, nearest, block) for queries, nearest in searches]
    centre_distances = np.concatenate([grid.centre_distances for grid in grids])
    order = np.argsort(centre_distances)
    reached = np.cumsum(np.concatenate([grid.counts for grid in grids])[order])
    at_ranks = centre_distances[order][np.searchsorted(reached, ranks, side="right")]
    least, most = at_ranks[0] - 2 * radius, at_ranks[1] + 2 * radius
    histograms = []
    for grid, (queries, nearest) in zip(grids, searches, strict=True):
        below = grid.centre_distances < least
        near = grid.voxels(queries, ~below & (grid.centre_distances <= most))
        bounds = grid.centre_distances[below] + radius, grid.counts[below]
        histograms.append(sum_histograms([bounds, nearest.histogram(near)]))
    return histograms


class _Blocks:
    """The blocks in which some voxels lie: how many of them in each, and how far its centre is from the targets."""

    def __init__(self, queries: VoxelSet, nearest: NearestVoxel, block: NDArray[np.int32]) -> None:
        self._block = block
        self._shape = tuple((-(-np.array(queries.shape) // block)).tolist())
        self._used, self.counts = sum_histograms(_histogram(self._numbers(part)) for part in queries.parts())
        corners = np.stack(np.unravel_index(self._used, self._shape), axis=1) * block
        self.centre_distances = nearest.distances(corners + (block - 1) / 2)

    def voxels(self, queries: VoxelSet, chosen: NDArray[np.bool_]) -> VoxelSet:
        """Return the voxels that lie in the chosen blocks."""
        wanted = np.zeros(np.prod(self._shape), bool)
        wanted[self._used[chosen]] = True
        return queries.where(lambda part: wanted[self._numbers(part)])

    def _numbers(self, voxels: Coordinates) -> NDArray[np.intp]:
        return np.ravel_multi_index(tuple((voxels // self._block).T), self._shape)


def sum_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of histograms."""
    return reduce(_add, histograms, (np.empty(0), np.empty(0, np.int64)))


def _add(one: Histogram, other: Histogram) -> Histogram:
    if not len(one[0]):
        return other
    values, index = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, index, np.concatenate([one[1], other[1]]))
    return values, counts


def _histogram(values: NDArray[Any]) -> Histogram:
    return np.unique(values, return_counts=True)
