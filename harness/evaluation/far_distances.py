"""Distances of voxels that lie too far from their nearest neighbour for a sweep to find it, by k-d trees.

Memory stays bounded, however many voxels there are: they are held as flat places, a part of them is turned
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

Places = NDArray[np.signedinteger]  # flat indices
Coordinates = NDArray[np.signedinteger]  # (n, 3)
Histogram = tuple[NDArray[Any], NDArray[np.int64]]  # ascending values, and how often each occurs

_PART = 1 << 19  # voxels that are looked up at a time, and that one tree holds
_LEAF = 64  # voxels in a leaf of a tree: far queries take half the time that they take with 10
_BLOCK = 8  # side of the block of voxels whose distances are bounded by that of its centre


@dataclass(frozen=True)
class Cloud:
    """Voxels of a volume.

    Attributes:
        places: ``(n,)`` their places in the flat volume.
        shape: of the volume.
    """

    places: Places
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.places)

    def parts(self) -> Iterator[Coordinates]:
        """Yield the coordinates of a part of the voxels at a time."""
        for begin in range(0, len(self), _PART):
            rest, last = np.divmod(self.places[begin : begin + _PART], np.int32(self.shape[2]))
            first, middle = np.divmod(rest, np.int32(self.shape[1]))
            yield np.stack([first, middle, last], axis=1)

    def where(self, wanted: Callable[[Coordinates], NDArray[np.bool_]]) -> Cloud:
        """Return those of the voxels that are wanted."""
        chosen = [wanted(part) for part in self.parts()]
        return Cloud(self.places[np.concatenate(chosen)], self.shape)


class Nearest:
    """Looks up how far the nearest of some voxels is."""

    def __init__(self, goals: Cloud, scale: NDArray[np.float64]) -> None:
        self._goals, self._scale = goals, scale
        self._only = [self._grow(part) for part in goals.parts()] if len(goals) <= _PART else None

    def distances(self, queries: NDArray[Any]) -> NDArray[np.float64]:
        """Return the distance of each query ``(m, 3)``, in voxels, to the nearest goal.

        From the whole-numbered offset, so that it does not depend on where in the volume the two lie.
        """
        shortest = np.full(len(queries), np.inf)
        scaled = queries * self._scale
        for goals, tree in self._only or map(self._grow, self._goals.parts()):
            _, nearest = tree.query(scaled)
            offsets = (queries - goals[nearest]) * self._scale
            np.minimum(shortest, np.sqrt((offsets**2).sum(axis=1)), out=shortest)
        return shortest

    def histogram(self, queries: Cloud) -> Histogram:
        """Return the distances of all queries."""
        return merged(_histogram(self.distances(part)) for part in queries.parts())

    def _grow(self, goals: Coordinates) -> tuple[Coordinates, KDTree]:
        # without compact nodes, far queries are twice as fast
        return goals, KDTree(goals * self._scale, _LEAF, compact_nodes=False, balanced_tree=False)


Search = tuple[Cloud, Nearest]  # voxels, and what is looked up for them


def up_to_ranks(
    searches: Sequence[Search], ranks: Sequence[int], scale: NDArray[np.float64]
) -> list[Histogram]:
    """Return distances of which those at two ranks of all are exact, and those below are not above them.

    Few are looked up: a distance differs from that of the centre of its block by no more than the two are
    apart. Those centres bound the distances at the ranks, and only voxels near to these are looked up. Shorter
    distances are given as their upper bounds, longer ones are left out.
    """
    block = np.maximum(1, np.round(_BLOCK * scale.min() / scale)).astype(np.int32)
    radius = float(np.linalg.norm((block - 1) / 2 * scale)) * (1 + 1e-9)
    grids = [_Blocks(queries, nearest, block) for queries, nearest in searches]
    middles = np.concatenate([grid.middles for grid in grids])
    order = np.argsort(middles)
    reached = np.cumsum(np.concatenate([grid.counts for grid in grids])[order])
    at_ranks = middles[order][np.searchsorted(reached, ranks, side="right")]
    least, most = at_ranks[0] - 2 * radius, at_ranks[1] + 2 * radius
    histograms = []
    for grid, (queries, nearest) in zip(grids, searches, strict=True):
        below = grid.middles < least
        near = grid.voxels(queries, ~below & (grid.middles <= most))
        bounds = grid.middles[below] + radius, grid.counts[below]
        histograms.append(merged([bounds, nearest.histogram(near)]))
    return histograms


class _Blocks:
    """The blocks in which some voxels lie: how many of them in each, and how far its centre is from the goals."""

    def __init__(self, queries: Cloud, nearest: Nearest, block: NDArray[np.int32]) -> None:
        self._block = block
        self._shape = tuple((-(-np.array(queries.shape) // block)).tolist())
        self._used, self.counts = merged(_histogram(self._numbers(part)) for part in queries.parts())
        corners = np.stack(np.unravel_index(self._used, self._shape), axis=1) * block
        self.middles = nearest.distances(corners + (block - 1) / 2)

    def voxels(self, queries: Cloud, chosen: NDArray[np.bool_]) -> Cloud:
        """Return the voxels that lie in the chosen blocks."""
        wanted = np.zeros(np.prod(self._shape), bool)
        wanted[self._used[chosen]] = True
        return queries.where(lambda part: wanted[self._numbers(part)])

    def _numbers(self, voxels: Coordinates) -> NDArray[np.intp]:
        return np.ravel_multi_index(tuple((voxels // self._block).T), self._shape)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of histograms."""
    return reduce(_sum, histograms, (np.empty(0), np.empty(0, np.int64)))


def _sum(one: Histogram, other: Histogram) -> Histogram:
    if not len(one[0]):
        return other
    values, index = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, index, np.concatenate([one[1], other[1]]))
    return values, counts


def _histogram(values: NDArray[Any]) -> Histogram:
    return np.unique(values, return_counts=True)
