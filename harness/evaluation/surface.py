"""Exact surface distances of all labels of two maps at once, by medpy's definition, without medpy's cost.

Surface: voxels of a label with a 6-neighbour that carries another label; what lies outside the volume counts
as background. Distances are Euclidean, in the unit of the spacing, from each surface voxel of one map to the
nearest surface voxel of the same label in the other.

How: one pass over the box of all labels finds the surfaces. Most surface voxels lie close to their nearest
neighbour, so lattice offsets are tried in the order of their length, all labels together (the sweep): the
first at which the other map has a surface voxel of the same label gives the distance. What the sweep does not
find soon is looked up in a k-d tree of the label. A percentile needs but the shortest distances, up to its
rank: a label stops there unless all of its distances are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Labels = NDArray[np.uint8]
Places = NDArray[np.int32]  # flat indices
Voxels = tuple[Places, Labels]  # where surface voxels are, and their labels
Histogram = tuple[NDArray[np.float64], NDArray[np.int64]]  # lengths, and how often each occurs

_SLAB = 1 << 18  # voxels worked on at a time, so that they stay in the processor's cache
_OFFSETS = 400  # lattice offsets that the sweep tries at most
_PERIOD = 8  # shells of equal length after which the sweep asks whether a label is worth going on with
_WORTHWHILE = 0.05  # share of a label's voxels that must have been found in a period
_BLOCK = 8  # side of the block of voxels whose distances are bounded by that of one of them
_KINDS = 256  # values of a label


@dataclass(frozen=True)
class SurfaceDistances:
    """The distances of one label between two maps: a histogram over lengths.

    Attributes:
        lengths: ``(n,)`` ascending, in the unit of the spacing.
        counts: ``(2, n)`` surface voxels of the first map that are this far from the second's surface, and
            of the second from the first's.
        voxels: surface voxels of both maps; more than counted where only the shortest distances are known.
    """

    lengths: NDArray[np.float64]
    counts: NDArray[np.int64]
    voxels: int

    def hd95(self) -> float:
        """Return the 95th percentile, linearly interpolated, of the distances of both directions pooled."""
        position = 0.95 * (self.voxels - 1)
        ranks = _ranks(np.int64(self.voxels))
        reached = np.cumsum(self.counts.sum(axis=0))
        low, high = self.lengths[np.searchsorted(reached, ranks, side="right")]
        return float(low + (high - low) * (position - int(position)))

    def assd(self) -> float:
        """Return the mean of the distances of both directions pooled, as medpy 0.5 does.

        Up to medpy 0.4 it was the mean of the two directed means.
        """
        self._need_all()
        return float(self.counts.sum(axis=0) @ self.lengths / self.voxels)

    def nsd(self, tolerance: float) -> float:
        """Return the share of the surface voxels of both maps that lie within ``tolerance`` of the other.

        The normalised surface Dice of Nikolov et al. (JMIR 2021), with voxels counted instead of areas.
        """
        self._need_all()
        within = self.lengths <= tolerance * (1 + 1e-12)  # rounding must not decide
        return float(self.counts[:, within].sum() / self.voxels)

    def _need_all(self) -> None:
        if self.counts.sum() != self.voxels:
            raise ValueError("only the shortest distances are known; ask for complete ones")


def surface_distances(
    one: Labels, other: Labels, spacing: Sequence[float], labels: Sequence[int], complete: bool = True
) -> dict[int, SurfaceDistances]:
    """Return the surface distances of each of ``labels``.

    Args:
        one: label map ``(X, Y, Z)``, 0 is background; fast in C and in Fortran order.
        other: label map on the same grid, in the same order.
        spacing: voxel size along each axis; the distances are in its unit.
        labels: values, above 0, that both maps have.
        complete: whether all distances are wanted, or no more than ``hd95`` needs.

    Raises:
        ValueError: the maps are not three-dimensional or differ in shape, or one lacks a label.
    """
    if one.ndim != 3 or one.shape != other.shape:
        raise ValueError(f"two volumes of the same shape are needed, not {one.shape} and {other.shape}")
    if not labels:
        return {}
    if one.flags.f_contiguous:  # as nibabel reads; the last axis has to be the one along memory
        one, other, spacing = one.T, other.T, tuple(reversed(spacing))
    box = foreground_box(one, other)
    search = _Search(one[box], other[box], spacing, labels, complete)
    search.sweep()
    return {label: search.result(label) for label in labels}


def foreground_box(one: Labels, other: Labels) -> tuple[slice, ...]:
    """Return the smallest box that holds all voxels of both maps that are not background."""
    planes = np.zeros(one.shape[0], one.dtype)
    front = np.zeros(one.shape[1:], one.dtype)
    for index, (first, second) in enumerate(zip(one, other, strict=True)):
        either = first | second
        front |= either
        planes[index] = either.max(initial=0)
    used = (np.flatnonzero(profile) for profile in (planes, front.any(axis=1), front.any(axis=0)))
    return tuple(slice(int(along[0]), int(along[-1]) + 1) if len(along) else slice(0) for along in used)


class _Search:
    """The surfaces of two maps, and what is known of the distances of their voxels.

    Direction 0 looks from the first map's surface to the second's, direction 1 back. Surfaces are flat
    arrays of labels (0: no surface) with a margin as wide as the longest offset, so that an offset is one
    addition and never wraps around. Places count from the first voxel inside of the margin.
    """

    def __init__(
        self, one: Labels, other: Labels, spacing: Sequence[float], labels: Sequence[int], complete: bool
    ) -> None:
        self.scale = np.asarray(spacing, np.float64)
        self.lengths, shells = _shells(self.scale)
        margin = np.maximum(np.abs(np.concatenate(shells)).max(axis=0), 1)
        self.shape = tuple((np.array(one.shape) + 2 * margin).tolist())
        strides = np.array([self.shape[1] * self.shape[2], self.shape[2], 1])
        self.shells = [(shell @ strides).tolist() for shell in shells]
        self.start = int(margin @ strides)
        self.surfaces = [_surface(map_, self.shape, margin) for map_ in (one, other)]
        self.asked = np.zeros(_KINDS, bool)
        self.asked[list(labels)] = True
        self.complete = complete
        self.voxels = np.zeros((2, _KINDS), np.int64)
        self.counts = np.zeros((2, len(shells), _KINDS), np.int64)
        self.left: list[list[Voxels]] = [[], []]  # by direction, what the trees are asked for
        self.goals: list[list[Voxels]] = []  # by direction, where they may find it

    def sweep(self) -> None:
        """Try the shells, shortest first; what no shell finds, or not soon, is left to the trees."""
        active = [self._first_period(direction) for direction in (0, 1)]
        absent = np.flatnonzero(self.asked & ~self.voxels.all(axis=0))
        if len(absent):
            raise ValueError(f"both maps need a voxel of label {absent[0]}")
        for shell in range(_PERIOD, len(self.shells)):
            if shell % _PERIOD == 0:
                active = self._worth_it(shell, active)
            active = [[self._try(d, shell, voxels) for voxels in active[d]] for d in (0, 1)]
        self.open = self._open()
        for direction in (0, 1):
            self.left[direction] = [
                _choose(part, self.open) for part in self.left[direction] + active[direction]
            ]
            sought = np.zeros(_KINDS, bool)
            for _, kinds in self.left[direction]:
                sought[kinds] = True
            self.goals.append(list(self._surface_voxels(1 - direction, sought)))

    def result(self, label: int) -> SurfaceDistances:
        """Return the distances of a label, after the sweep."""
        voxels = self.voxels[:, label]
        lengths, counts = self.lengths, self.counts[:, :, label]
        if self.open[label]:
            found = self._look_up(label)
            far = np.concatenate([number for _, number in found])
            forth = np.arange(len(far)) < len(found[0][0])
            lengths = np.concatenate([lengths, *(length for length, _ in found)])
            counts = np.concatenate([counts, np.stack([far * forth, far * ~forth])], axis=1)
            order = np.argsort(lengths, kind="stable")
            lengths, counts = lengths[order], counts[:, order]
        return SurfaceDistances(lengths, counts, int(voxels.sum()))

    def _open(self) -> NDArray[np.bool_]:
        """Return for each label whether a distance that is wanted is not known yet."""
        voxels = self.voxels.sum(axis=0)
        needed = voxels if self.complete else _ranks(voxels)[1] + 1
        return self.asked & (self.counts.sum(axis=(0, 1)) < needed)

    def _first_period(self, direction: int) -> list[Voxels]:
        """Return the surface voxels that the first shells do not find, in parts.

        Slab by slab, since in a map of noise every voxel is surface.
        """
        parts, small = [], []
        for voxels in self._surface_voxels(direction, self.asked):
            self.voxels[direction] += np.bincount(voxels[1], minlength=_KINDS)
            for shell in range(min(_PERIOD, len(self.shells))):
                voxels = self._try(direction, shell, voxels)
            small.append(voxels)
            if sum(len(kinds) for _, kinds in small) > _SLAB:
                parts.append(_join(small))
                small = []
        return [*parts, _join(small)] if small else parts

    def _surface_voxels(self, direction: int, wanted: NDArray[np.bool_]) -> Iterator[Voxels]:
        """Yield the surface voxels of the wanted labels of a map, slab by slab."""
        surface = self.surfaces[direction]
        inside = surface[self.start : surface.size - self.start]
        for begin in range(0, inside.size, _SLAB):
            slab = inside[begin : begin + _SLAB]
            places = np.flatnonzero(slab != 0)
            yield _choose(((places + begin).astype(np.int32), slab[places]), wanted)

    def _worth_it(self, shell: int, active: list[list[Voxels]]) -> list[list[Voxels]]:
        """Return the voxels that are worth more shells, and put those of other open labels aside.

        A label goes on or stops in both directions at once: what is known of it are its shortest distances.
        """
        waiting = sum(np.bincount(kinds, minlength=_KINDS) for parts in active for _, kinds in parts)
        recent = self.counts[:, shell - _PERIOD : shell].sum(axis=(0, 1))
        slow = recent < _WORTHWHILE * (waiting + recent)
        open_ = self._open()
        for direction in (0, 1):
            self.left[direction] += [_choose(voxels, open_ & slow) for voxels in active[direction]]
        return [[_choose(voxels, open_ & ~slow) for voxels in parts] for parts in active]

    def _try(self, direction: int, shell: int, voxels: Voxels) -> Voxels:
        """Count the voxels that have their label at an offset of the shell, and return the others."""
        places, kinds = voxels
        target = self.surfaces[1 - direction]
        missed = np.ones(len(places), bool)
        for offset in self.shells[shell]:
            missed &= target[self.start + offset :].take(places) != kinds
        found = kinds[~missed]
        if not len(found):
            return voxels
        self.counts[direction, shell] += np.bincount(found, minlength=_KINDS)
        return places[missed], kinds[missed]

    def _look_up(self, label: int) -> list[Histogram]:
        """Return, by direction, the distances of the voxels of a label that the sweep left.

        Where no more than the percentile is wanted, a tree is asked for a few voxels first. They bound the
        distances of their neighbours, and with them the percentile; then only distances near to it are
        looked up. Shorter ones are given as their upper bounds, longer ones are left out.
        """
        queries, trees = [], []
        for direction in (0, 1):
            queries.append(self._coordinates(self.left[direction], label))
            goals = self._coordinates(self.goals[direction], label)
            trees.append(_Tree(goals, self.scale) if len(queries[-1]) else None)
        asked = [(query, tree) for query, tree in zip(queries, trees, strict=True) if tree]
        if self.complete:
            found = [_histogram(tree.distances(query)) for query, tree in asked]
        else:
            known = int(self.counts[:, :, label].sum())
            ranks = [max(0, int(rank) - known) for rank in _ranks(self.voxels[:, label].sum())]
            found = _up_to_ranks(asked, ranks, self.scale)
        by_direction = iter(found)
        return [next(by_direction) if tree else _histogram(np.empty(0)) for tree in trees]

    def _coordinates(self, parts: list[Voxels], label: int) -> NDArray[np.int32]:
        places = np.concatenate([places[kinds == label] for places, kinds in parts]) + np.int32(self.start)
        rest, last = np.divmod(places, np.int32(self.shape[2]))
        first, middle = np.divmod(rest, np.int32(self.shape[1]))
        return np.stack([first, middle, last], axis=1)


class _Tree:
    """A k-d tree of the surface voxels ``(n, 3)`` of one label."""

    def __init__(self, voxels: NDArray[np.int32], scale: NDArray[np.float64]) -> None:
        self._voxels, self._scale = voxels, scale
        # without compact nodes, far queries are twice as fast
        self._tree = KDTree(voxels * scale, compact_nodes=False, balanced_tree=False)

    def distances(self, queries: NDArray[Any]) -> NDArray[np.float64]:
        """Return the distance of each query ``(m, 3)``, in voxels, to the nearest voxel.

        From the whole-numbered offset, so that it does not depend on where in the volume the two lie.
        """
        _, nearest = self._tree.query(queries * self._scale)
        return _norm((queries - self._voxels[nearest]) * self._scale)


def _up_to_ranks(
    asked: list[tuple[NDArray[np.int32], _Tree]], ranks: list[int], scale: NDArray[np.float64]
) -> list[Histogram]:
    """Return distances of which those at two ranks of all are exact, and those below are not above them.

    A distance differs from that of the centre of its block by no more than the two are apart.
    """
    block = np.maximum(1, np.round(_BLOCK * scale.min() / scale)).astype(np.int32)
    radius = float(np.linalg.norm((block - 1) / 2 * scale)) * (1 + 1e-9)
    middles, cells, counts = [], [], []
    for queries, tree in asked:
        shape = tuple(queries.max(axis=0) // block + 1)
        ids = np.ravel_multi_index(tuple((queries // block).T), shape)
        found, cell_of, count = np.unique(ids, return_inverse=True, return_counts=True)
        centres = np.stack(np.unravel_index(found, shape), axis=1) * block + (block - 1) / 2
        middles.append(tree.distances(centres))
        cells.append(cell_of)
        counts.append(count)
    all_middles, all_counts = np.concatenate(middles), np.concatenate(counts)
    order = np.argsort(all_middles)
    reached = np.cumsum(all_counts[order])
    at_ranks = all_middles[order][np.searchsorted(reached, ranks, side="right")]
    least, most = at_ranks[0] - 2 * radius, at_ranks[1] + 2 * radius
    histograms = []
    for (queries, tree), middle, cell_of, count in zip(asked, middles, cells, counts, strict=True):
        near = ((middle >= least) & (middle <= most))[cell_of]
        below = middle < least
        lengths, exact = _histogram(tree.distances(queries[near]))
        histograms.append(
            (np.concatenate([middle[below] + radius, lengths]), np.concatenate([count[below], exact]))
        )
    return histograms


def _histogram(distances: NDArray[np.float64]) -> Histogram:
    return np.unique(distances, return_counts=True)


def _surface(labels: Labels, shape: tuple[int, ...], margin: NDArray[np.intp]) -> Labels:
    """Return the flat surface of a map, within a margin of zeros."""
    padded = np.zeros(shape, np.uint8)
    padded[tuple(slice(m, m + side) for m, side in zip(margin, labels.shape, strict=True))] = labels
    flat, surface = padded.ravel(), np.zeros(padded.size, np.uint8)
    steps = (1, shape[2], shape[1] * shape[2])
    for begin in range(steps[2], flat.size - steps[2], _SLAB):
        end = min(begin + _SLAB, flat.size - steps[2])
        here, edge = flat[begin:end], np.zeros(end - begin, bool)
        for step in steps:
            edge |= here != flat[begin - step : end - step]
            edge |= here != flat[begin + step : end + step]
        np.multiply(here, edge, out=surface[begin:end])
    return surface


def _shells(scale: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[NDArray[np.intp]]]:
    """Return ascending lengths from 0, and for each the lattice offsets ``(n, 3)`` that have it.

    Every offset that is not longer than the last length is there.
    """
    radius = (3 * _OFFSETS / (4 * np.pi) * scale.prod()) ** (1 / 3)
    sides = [np.arange(-reach, reach + 1) for reach in (radius / scale).astype(int)]
    offsets = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.sqrt(((offsets * scale) ** 2).sum(axis=1))
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= radius][:_OFFSETS]
    offsets, lengths = offsets[order], lengths[order]
    ends = np.flatnonzero(np.diff(lengths, append=np.inf) > 1e-9 * scale.max()) + 1
    if len(ends) > 1:
        ends = ends[:-1]  # the last shell may be cut short
    return lengths[ends - 1], np.split(offsets[: ends[-1]], ends[:-1])


def _choose(voxels: Voxels, wanted: NDArray[np.bool_]) -> Voxels:
    """Return the voxels whose label is wanted."""
    places, kinds = voxels
    chosen = wanted[kinds]
    return (places, kinds) if chosen.all() else (places[chosen], kinds[chosen])


def _join(parts: list[Voxels]) -> Voxels:
    return np.concatenate([places for places, _ in parts]), np.concatenate([kinds for _, kinds in parts])


def _norm(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt((vectors**2).sum(axis=1))


def _ranks(voxels: Any) -> tuple[Any, Any]:
    """Return the two ranks, counted from 0, between which the 95th percentile of so many distances lies."""
    below = (0.95 * (voxels - 1)).astype(np.int64)
    return below, np.minimum(below + 1, voxels - 1)
