"""Exact surface distances of all labels of two maps at once, by medpy's definition, without medpy's cost.

Surface: voxels of a label with a 6-neighbour that carries another label; what lies outside the volume counts
as background. Distances are Euclidean, in the unit of the spacing, from each surface voxel of one map to the
nearest surface voxel of the same label in the other.

How: one pass over the box of all labels finds the surfaces. Most surface voxels lie close to their nearest
neighbour, so lattice offsets are tried in the order of their length, all labels together (the sweep): the
first at which the other map has a surface voxel of the same label gives the distance. What the sweep does not
find soon is looked up in k-d trees of the label. A percentile needs only the shortest distances, up to its
rank: a label stops there unless all of its distances are wanted. Where there is too much surface to hold, as in
noise, one label is searched after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.volume import ROUNDING
from harness.evaluation.nearest_voxel import (
    FlatIndices,
    Histogram,
    NearestVoxel,
    VoxelSet,
    distances_at_ranks,
)

Labels = NDArray[np.uint8]
Voxels = tuple[FlatIndices, Labels]  # where surface voxels are, and their labels

_SLAB = 1 << 18  # voxels worked on at a time, so that they stay in the processor's cache
_OFFSETS = 400  # lattice offsets that the sweep tries at most
_PERIOD = (
    8  # shells (offsets of one length) after which the sweep asks whether a label is worth going on with
)
_WORTHWHILE = 0.05  # share of a label's voxels that must have been found in a period
_HELD = 1 << 23  # surface voxels of the two maps up to which all labels are searched at once
_LABELS = 256  # values of a label


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
        ranks = _percentile_ranks(np.int64(self.voxels))
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

        The normalised surface Dice of Nikolov et al. (JMIR 2021), with voxels counted instead of areas. A distance
        that equals the tolerance up to the rounding of a header is within it.
        """
        self._need_all()
        within = self.lengths <= tolerance * (1 + ROUNDING)
        return float(self.counts[:, within].sum() / self.voxels)

    def _need_all(self) -> None:
        if self.counts.sum() != self.voxels:
            raise ValueError("only the shortest distances are known; ask for complete ones")


def surface_distances(
    one: Labels, other: Labels, spacing: Sequence[float], labels: Sequence[int], complete: bool = True
) -> Iterator[tuple[int, SurfaceDistances]]:
    """Yield each of ``labels`` with its surface distances, which may be many: use them before the next ones.

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
        return
    if one.flags.f_contiguous:  # as nibabel reads; the last axis has to be the one along memory
        one, other, spacing = one.T, other.T, tuple(reversed(spacing))
    box = foreground_box(one, other)
    surfaces = _Surfaces(one[box], other[box], spacing)
    for group in [labels] if surfaces.size <= _HELD else [[label] for label in labels]:
        search = _Search(surfaces, group, complete)
        search.sweep()
        for label in group:
            yield label, search.result(label)


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


class _Surfaces:
    """The surfaces of two maps.

    Flat arrays of labels (0: no surface) with a margin as wide as the longest offset that the sweep tries, so
    that an offset is one addition and never wraps around. Indices count from the first voxel inside of the
    margin.
    """

    def __init__(self, one: Labels, other: Labels, spacing: Sequence[float]) -> None:
        self.scale = np.asarray(spacing, np.float64)
        self.lengths, shells = _shells(self.scale)
        margin = np.maximum(np.abs(np.concatenate(shells)).max(axis=0), 1)
        first, middle, last = (np.array(one.shape) + 2 * margin).tolist()
        self.shape = first, middle, last
        strides = np.array([middle * last, last, 1])
        self.shells = [(shell @ strides).tolist() for shell in shells]
        self.start = int(margin @ strides)
        self.maps = [_surface(map_, self.shape, margin) for map_ in (one, other)]
        self.size = sum(np.count_nonzero(map_) for map_ in self.maps)
        self.index_type = np.int32 if self.maps[0].size <= np.iinfo(np.int32).max else np.int64

    def voxels(self, index: int, wanted: NDArray[np.bool_]) -> Iterator[Voxels]:
        """Yield the surface voxels of the wanted labels of a map, slab by slab."""
        inside = self.maps[index][self.start : -self.start]
        labels = np.flatnonzero(wanted)
        for begin in range(0, inside.size, _SLAB):
            slab = inside[begin : begin + _SLAB]
            indices = np.flatnonzero(slab == labels[0] if len(labels) == 1 else slab != 0)
            yield _select(((indices + begin).astype(self.index_type), slab[indices]), wanted)

    def voxel_sets(self, parts: Iterable[Voxels], wanted: NDArray[np.bool_]) -> dict[int, VoxelSet]:
        """Return the voxels of each wanted label that has any.

        Their coordinates count from the first voxel inside of the margin too: a row of the box is shorter than
        one with its margin, so none wraps around.
        """
        found: dict[int, list[FlatIndices]] = {label: [] for label in np.flatnonzero(wanted).tolist()}
        for indices, labels in parts:
            for label, chosen in found.items():
                chosen.append(indices[labels == label])
        voxel_sets = {}
        for label in list(found):
            indices = np.concatenate([np.empty(0, self.index_type), *found.pop(label)])
            if len(indices):
                voxel_sets[label] = VoxelSet(indices, self.shape)
        return voxel_sets


class _Search:
    """What is known of the distances of the surface voxels of some labels.

    Direction 0 looks from the first map's surface to the second's, direction 1 back.
    """

    def __init__(self, surfaces: _Surfaces, labels: Sequence[int], complete: bool) -> None:
        self.surfaces, self.complete = surfaces, complete
        self.wanted = np.zeros(_LABELS, bool)
        self.wanted[list(labels)] = True
        self.voxels = np.zeros((2, _LABELS), np.int64)
        self.counts = np.zeros((2, len(surfaces.shells), _LABELS), np.int64)
        # by direction: voxels that the sweep does not go on with, then what the trees are asked for, and among what
        self.set_aside: list[list[Voxels]] = [[], []]
        self.queries: list[dict[int, VoxelSet]] = []
        self.targets: list[dict[int, VoxelSet]] = []

    def sweep(self) -> None:
        """Try the shells, shortest first; what no shell finds, or not soon, is left to the trees."""
        active = [self._first_period(direction) for direction in (0, 1)]
        absent = np.flatnonzero(self.wanted & ~self.voxels.all(axis=0))
        if len(absent):
            raise ValueError(f"both maps need a voxel of label {absent[0]}")
        for shell in range(_PERIOD, len(self.surfaces.shells)):
            if shell % _PERIOD == 0:
                active = self._drop_slow_labels(shell, active)
            active = [[self._match_at_shell(d, shell, voxels) for voxels in active[d]] for d in (0, 1)]
        unfinished = self._unfinished()
        for direction in (0, 1):
            set_aside = self.set_aside[direction] + active[direction]
            self.set_aside[direction], active[direction] = [], []  # else they would be held twice
            queries = self.surfaces.voxel_sets(_drain(set_aside), unfinished)
            sought = np.isin(np.arange(_LABELS), list(queries))
            targets = self.surfaces.voxels(1 - direction, sought) if queries else ()
            self.queries.append(queries)
            self.targets.append(self.surfaces.voxel_sets(targets, sought))

    def result(self, label: int) -> SurfaceDistances:
        """Return the distances of a label, after the sweep."""
        lengths, counts = self.surfaces.lengths, self.counts[:, :, label]
        for direction, (far, number) in self._ask_trees(label).items():
            lengths = np.concatenate([lengths, far])
            both = np.zeros((2, len(far)), np.int64)
            both[direction] = number
            counts = np.concatenate([counts, both], axis=1)
        order = np.argsort(lengths, kind="stable")
        return SurfaceDistances(lengths[order], counts[:, order], int(self.voxels[:, label].sum()))

    def _unfinished(self) -> NDArray[np.bool_]:
        """Return for each label whether a wanted distance is still unknown."""
        voxels = self.voxels.sum(axis=0)
        needed = voxels if self.complete else _percentile_ranks(voxels)[1] + 1
        return self.wanted & (self.counts.sum(axis=(0, 1)) < needed)

    def _first_period(self, direction: int) -> list[Voxels]:
        """Return the surface voxels that the first shells do not find, in parts.

        Slab by slab, since in a map of noise every voxel is surface.
        """
        parts, small = [], []
        for voxels in self.surfaces.voxels(direction, self.wanted):
            self.voxels[direction] += np.bincount(voxels[1], minlength=_LABELS)
            for shell in range(min(_PERIOD, len(self.surfaces.shells))):
                voxels = self._match_at_shell(direction, shell, voxels)
            small.append(voxels)
            if sum(len(labels) for _, labels in small) > _SLAB:
                parts.append(_join(small))
                small = []
        return [*parts, _join(small)] if small else parts

    def _drop_slow_labels(self, shell: int, active: list[list[Voxels]]) -> list[list[Voxels]]:
        """Return the voxels that are worth more shells, and put those of other unfinished labels aside.

        A label goes on or stops in both directions at once: what is known of it are its shortest distances.
        """
        waiting = sum(np.bincount(labels, minlength=_LABELS) for parts in active for _, labels in parts)
        recent = self.counts[:, shell - _PERIOD : shell].sum(axis=(0, 1))
        slow = recent < _WORTHWHILE * (waiting + recent)
        unfinished = self._unfinished()
        for direction in (0, 1):
            self.set_aside[direction] += [_select(voxels, unfinished & slow) for voxels in active[direction]]
        return [[_select(voxels, unfinished & ~slow) for voxels in parts] for parts in active]

    def _match_at_shell(self, direction: int, shell: int, voxels: Voxels) -> Voxels:
        """Count the voxels that have their label at an offset of the shell, and return the others."""
        indices, labels = voxels
        target, start = self.surfaces.maps[1 - direction], self.surfaces.start
        missed = np.ones(len(indices), bool)
        for offset in self.surfaces.shells[shell]:
            missed &= target[start + offset :].take(indices) != labels
        found = labels[~missed]
        if not len(found):
            return voxels
        self.counts[direction, shell] += np.bincount(found, minlength=_LABELS)
        return indices[missed], labels[missed]

    def _ask_trees(self, label: int) -> dict[int, Histogram]:
        """Return, by direction, the distances of the voxels of a label that the sweep left.

        Where no more than the percentile is wanted, shorter distances are given as their upper bounds, and
        longer ones are left out.
        """
        searches = {
            direction: (queries[label], NearestVoxel(targets[label], self.surfaces.scale))
            for direction, (queries, targets) in enumerate(zip(self.queries, self.targets, strict=True))
            if label in queries
        }
        if self.complete or not searches:
            return {
                direction: nearest.histogram(queries) for direction, (queries, nearest) in searches.items()
            }
        known = int(self.counts[:, :, label].sum())
        ranks = [max(0, int(rank) - known) for rank in _percentile_ranks(self.voxels[:, label].sum())]
        found = distances_at_ranks([*searches.values()], ranks, self.surfaces.scale)
        return dict(zip(searches, found, strict=True))


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


def _drain(parts: list[Voxels]) -> Iterator[Voxels]:
    """Yield the parts and let go of them."""
    while parts:
        yield parts.pop()


def _select(voxels: Voxels, wanted: NDArray[np.bool_]) -> Voxels:
    """Return the voxels whose label is wanted."""
    indices, labels = voxels
    chosen = wanted[labels]
    return (indices, labels) if chosen.all() else (indices[chosen], labels[chosen])


def _join(parts: list[Voxels]) -> Voxels:
    indices, labels = zip(*parts, strict=True)
    return np.concatenate(indices), np.concatenate(labels)


def _percentile_ranks(voxels: Any) -> tuple[Any, Any]:
    """Return the two ranks, counted from 0, between which the 95th percentile of so many distances lies."""
    below = (0.95 * (voxels - 1)).astype(np.int64)
    return below, np.minimum(below + 1, voxels - 1)
