"""The metrics of one case: all regions of two label maps from one joint histogram and one surface search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.evaluation.conventions import HARNESS, NOT_COUNTED, Convention, Metric, Regions, metric_named
from harness.evaluation.surface import Labels, SurfaceDistances, foreground_box, surface_distances

DEFAULT_METRICS = ("dice", "hd95")


def score_case(
    prediction: Labels,
    reference: Labels,
    spacing: Sequence[float],
    regions: Regions,
    metrics: Sequence[str] = DEFAULT_METRICS,
    convention: Convention = HARNESS,
    tolerances: Mapping[str, float] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Return a row of region, metric, value, unit and empty for each region and metric.

    ``empty`` says which mask has no voxel: ``none``, ``reference``, ``prediction`` or ``both``. A value that
    is not counted is NaN.

    Args:
        prediction: labels ``(X, Y, Z)`` uint8.
        reference: labels on the same grid.
        spacing: voxel size along each axis, mm.
        regions: region -> label values, 0 not among them.
        metrics: names, see :data:`harness.evaluation.conventions.METRICS`.
        convention: unit, and rules for empty masks.
        tolerances: region -> tolerance of ``nsd@region``, in the convention's unit of length.

    Raises:
        ValueError: the maps differ in shape or are not uint8 volumes.
        UserError: a metric is unknown, or a region has no tolerance.
    """
    (rows,) = score_case_by([convention], prediction, reference, spacing, regions, metrics, tolerances)
    return rows


def score_case_by(
    conventions: Sequence[Convention],
    prediction: Labels,
    reference: Labels,
    spacing: Sequence[float],
    regions: Regions,
    metrics: Sequence[str] = DEFAULT_METRICS,
    tolerances: Mapping[str, float] = MappingProxyType({}),
) -> list[list[dict[str, Any]]]:
    """Return the rows of :func:`score_case` by each of several conventions; surfaces are measured once for each unit."""
    chosen = [metric_named(name) for name in metrics]
    if any(metric.by_region for metric in chosen) and (lacking := regions.keys() - tolerances):
        raise UserError(
            "nsd@region", f"no tolerance of {', '.join(sorted(lacking))}", "one for each region",
            "Declare it in the tolerances of the study or the dataset, with --tolerances of 'medctx evaluate', or take nsd@1.",
        )  # fmt: skip
    counted = region_voxels(prediction, reference, regions)
    both = {name: regions[name] for name, voxels in counted.items() if voxels.empty == "none"}
    measured = {
        unit: _surface_values(prediction, reference, unit, both, chosen, tolerances)
        for unit in {convention.spacing(spacing) for convention in conventions}
    }
    millilitres = float(np.prod(spacing)) / 1000
    found = []
    for convention in conventions:
        unit = convention.spacing(spacing)
        diagonal = float(np.linalg.norm(np.array(prediction.shape) * unit))
        found.append([
            {"region": name, "metric": metric.name,
             "value": voxels.value(metric, convention, measured[unit].get((name, metric.name)), diagonal, millilitres),
             "unit": convention.unit_of(metric), "empty": voxels.empty}
            for name, voxels in counted.items() for metric in chosen
        ])  # fmt: skip
    return found


def without_ignored(prediction: Labels, reference: Labels, ignore: int | None) -> tuple[Labels, Labels]:
    """Return both maps with background where the reference carries ``ignore``, so that these voxels count nowhere.

    Args:
        prediction: labels ``(X, Y, Z)``; they stay as they are.
        reference: labels on the same grid.
        ignore: the label of what nobody has labelled; None returns the maps themselves.

    Raises:
        ValueError: the maps differ in shape.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"maps of the same shape are needed, not {prediction.shape} and {reference.shape}")
    if ignore is None or not (unlabelled := reference == ignore).any():
        return prediction, reference
    prediction, reference = prediction.copy(order="K"), reference.copy(order="K")
    prediction[unlabelled] = reference[unlabelled] = 0
    return prediction, reference


def dice_by_region(prediction: Labels, reference: Labels, regions: Regions) -> dict[str, float]:
    """Return the Dice of each region, NaN where both masks are empty; for validation."""
    return {name: voxels.dice() for name, voxels in region_voxels(prediction, reference, regions).items()}


@dataclass(frozen=True)
class RegionVoxels:
    """How many voxels a region has: in both maps at once, in the prediction, in the reference."""

    common: int
    prediction: int
    reference: int

    @property
    def empty(self) -> str:
        """Which mask has no voxel: ``none``, ``reference``, ``prediction`` or ``both``."""
        if not self.prediction:
            return "prediction" if self.reference else "both"
        return "none" if self.reference else "reference"

    def dice(self) -> float:
        """Return 2|A∩B| / (|A|+|B|), or NaN where both masks are empty."""
        return _ratio(2 * self.common, self.prediction + self.reference)

    def value(
        self,
        metric: Metric,
        convention: Convention,
        measured: float | None,
        diagonal: float,
        millilitres: float,
    ) -> float:
        """Return the metric's value by the convention.

        Args:
            metric: what is wanted.
            convention: its rules hold where a mask is empty.
            measured: the value by the surface distances, where both masks have a voxel and the metric needs them.
            diagonal: of the volume, in the convention's unit.
            millilitres: volume of a voxel.
        """
        if metric.dimension == "volume":
            return millilitres * (self.prediction if metric.name == "volume" else self.reference)
        is_length = metric.dimension == "length"
        if self.empty == "both":
            return convention.distance_both_empty if is_length else convention.dice_both_empty
        if metric.name == "sensitivity":  # there is nothing to find where the reference is empty
            return _ratio(self.common, self.reference)
        if self.empty != "none":
            missed = {"diagonal": diagonal, "zero": 0.0, "not counted": NOT_COUNTED}
            return missed[convention.distance_one_empty] if is_length else 0.0
        if metric.name == "precision":
            return _ratio(self.common, self.prediction)
        if metric.name == "dice":
            return self.dice()
        assert measured is not None
        return measured


def region_voxels(prediction: Labels, reference: Labels, regions: Regions) -> dict[str, RegionVoxels]:
    """Return the numbers of voxels of each region, from the joint histogram of the maps.

    Raises:
        ValueError: the maps differ in shape or are not uint8 volumes.
    """
    table = joint_histogram(prediction, reference)
    voxels = {}
    for name, values in regions.items():
        inside = np.isin(np.arange(len(table)), values)
        voxels[name] = RegionVoxels(
            int(table[np.ix_(inside, inside)].sum()), int(table[inside].sum()), int(table[:, inside].sum())
        )
    return voxels


def joint_histogram(one: Labels, other: Labels) -> NDArray[np.int64]:
    """Return ``(n, n)`` counts: voxels that carry label i in ``one`` and j in ``other``.

    Voxels around the box of all labels, which are background in both, are not counted.

    Raises:
        ValueError: the maps differ in shape or are not uint8 volumes.
    """
    if one.dtype != np.uint8 or other.dtype != np.uint8 or one.ndim != 3 or one.shape != other.shape:
        found = f"{one.dtype} {one.shape} and {other.dtype} {other.shape}"
        raise ValueError(f"two uint8 volumes of the same shape are needed, not {found}")
    if one.flags.f_contiguous:
        one, other = one.T, other.T
    box = foreground_box(one, other)
    one, other = one[box], other[box]
    kinds = int(max(one.max(initial=0), other.max(initial=0))) + 1
    table = np.zeros(kinds * kinds)
    for first, second in zip(one, other, strict=True):
        pairs = (first.astype(np.uint16) * kinds + second).ravel()
        # neighbours are mostly alike: counting runs costs one comparison a voxel
        ends = np.append(np.flatnonzero(pairs[1:] != pairs[:-1]), pairs.size - 1)
        table += np.bincount(pairs[ends], np.diff(ends, prepend=-1), kinds * kinds)
    return table.astype(np.int64).reshape(kinds, kinds)


def _surface_values(
    prediction: Labels, reference: Labels, scale: Sequence[float], regions: Regions, metrics: Sequence[Metric],
    tolerances: Mapping[str, float],
) -> dict[tuple[str, str], float]:  # fmt: skip
    """Return region, metric -> value by surface distances; overlapping regions are searched one after another."""
    metrics = [metric for metric in metrics if metric.of_surface]
    values: dict[tuple[str, str], float] = {}
    for layer in _disjoint_groups(regions) if metrics else ():
        if all(len(labels) == 1 for labels in layer.values()):  # labels as they are
            names = {labels[0]: name for name, labels in layer.items()}
            maps = prediction, reference
        else:
            names = dict(enumerate(layer, start=1))
            table = np.zeros(256, np.uint8)
            for code, name in names.items():
                table[list(layer[name])] = code
            maps = table[prediction], table[reference]
        complete = any(metric.name != "hd95" for metric in metrics)
        for code, distances in surface_distances(*maps, scale, list(names), complete):
            tolerance = tolerances.get(names[code], 0.0)
            values |= {
                (names[code], metric.name): _surface_value(metric, distances, tolerance) for metric in metrics
            }
    return values


def _surface_value(metric: Metric, distances: SurfaceDistances, of_region: float) -> float:
    """Return a metric by surface distances; ``of_region`` is the region's own tolerance."""
    if metric.tolerance or metric.by_region:
        return distances.nsd(of_region if metric.by_region else metric.tolerance)
    return distances.hd95() if metric.name == "hd95" else distances.assd()


def _disjoint_groups(regions: Regions) -> Iterator[Regions]:
    """Divide regions into groups in which no label is in two regions."""
    left: Mapping[str, tuple[int, ...]] = regions
    while left:
        taken: set[int] = set()
        group: dict[str, tuple[int, ...]] = {}
        for name, values in left.items():
            if taken.isdisjoint(values):
                group[name] = values
                taken.update(values)
        yield group
        left = {name: values for name, values in left.items() if name not in group}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else NOT_COUNTED
