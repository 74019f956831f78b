"""The recipe for a dataset by nnU-Net's published rules: pure functions of its fingerprint. Each value has its reason.

Isensee et al., Nature Methods 18, 2021, in the form of nnU-Net v2; docs/suggest.md says where these rules differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.pipelines import NNUNET, PLANAR
from harness.data.topology import LEAST_BATCH, Topology, batch_size, fit_patch
from harness.parsing import merge
from harness.spec import Augmentation, Recipe, Triple

if TYPE_CHECKING:  # it reads files, and every plan imports this module
    from harness.data.fingerprint import Fingerprint, Spacing

CPU_MEMORY = 1.0
"""GB of a device that gets as little as a CPU core can do: a step of a narrow U-Net takes two to four seconds."""
FAR = 3.0  # between spacings, or sides, from which an axis counts as coarse
_CROPPED = 0.75  # of a volume: the box of what is not 0, below which the rest is left out of the z-score
_LOW_RESOLUTION = 0.25  # of a volume, in a patch: below, nnU-Net would train on a coarser grid first
_SMALLEST = 16  # voxels: of which two halvings leave 4
_AXES = "xyz"
_TRAINING = ("steps", "precision")  # what no property of a dataset says
_OPPOSITE = (("left", "right"), ("anterior", "posterior"), ("superior", "inferior"), ("l", "r"))
_ALONG = (0, 1, 2, 0)


@dataclass(frozen=True)
class Rule:
    """A key below ``recipe``, its value, and which rule gave it."""

    key: str
    value: Any
    reason: str

    @property
    def nested(self) -> dict[str, Any]:
        """The value as settings below ``recipe``."""
        settings = self.value
        for part in reversed(self.key.split(".")):
            settings = {part: settings}
        return settings


@dataclass(frozen=True)
class Suggestion:
    """A recipe and the network that its patch is made for.

    Attributes:
        fingerprint: of the dataset.
        memory: that it is sized for, GB.
        median: sides of the median volume at the recipe's spacing, voxels.
        net: the stages of the network.
        rules: the recipe, key by key.
    """

    fingerprint: Fingerprint
    memory: float
    median: tuple[float, float, float]
    net: Topology
    rules: tuple[Rule, ...]

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe, as nested settings of a study."""
        settings: dict[str, Any] = {}
        for rule in self.rules:
            settings = merge(settings, rule.nested)
        return settings

    def value(self, key: str) -> Any:
        """Return the value of a dotted key below ``recipe``."""
        return next(rule.value for rule in self.rules if rule.key == key)


def suggest_recipe(
    fingerprint: Fingerprint, memory: float, default: Mapping[str, Any] | None = None
) -> Suggestion:
    """Return the recipe for a dataset.

    Args:
        fingerprint: of the dataset.
        memory: of the device, GB.
        default: the dataset's own recipe; what it sets beside the rules is set back.
    """
    spacing = target_spacing(fingerprint)
    sides = median_volume(fingerprint, spacing.value)
    patch, net = _patch(spacing.value, sides, fingerprint.classes, memory)
    batch = _batch(fingerprint, patch.value, sides, net, memory)
    rules = (
        spacing,
        patch,
        batch,
        *intensity(fingerprint),
        loss(patch.value, sides),
        mirror_axes(fingerprint.labels),
        *turning(patch.value, spacing.value),
    )
    rules = (*rules, *_rest({rule.key for rule in rules}))
    return Suggestion(fingerprint, memory, sides, net, (*rules, *_set_back(default or {}, rules)))


def target_spacing(fingerprint: Fingerprint) -> Rule:
    """Return the median spacing; along a coarse axis, of which there are few voxels, the 10th percentile.

    An axis is coarse where its median spacing is over three times that of each other, and its median side below a third
    of theirs. Its spacing never becomes finer than that of the others.
    """
    spacings = np.array([grid.spacing for grid in fingerprint.grids])
    sides = np.median([grid.shape for grid in fingerprint.grids], axis=0)
    target = np.median(spacings, axis=0)
    coarse = _coarsest(target.tolist())
    others = [axis for axis in range(3) if axis != coarse]
    reason = f"median of {len(spacings)} cases"
    if target[coarse] > FAR * target[others].max() and sides[coarse] * FAR < sides[others].min():
        usual = float(target[coarse])
        target[coarse] = max(np.percentile(spacings[:, coarse], 10), target[others].max())
        reason += (
            f"; along {_AXES[coarse]}, where slices are far apart (median {usual:.4g} mm), percentile 10"
        )
    return Rule("spacing", _triple([round(size, 4) for size in target.tolist()]), reason)


def median_volume(fingerprint: Fingerprint, spacing: Spacing) -> tuple[float, float, float]:
    """Return the median sides of the cases' volumes at a spacing, voxels."""
    x, y, z = (
        median(round(grid.shape[axis] * grid.spacing[axis] / spacing[axis]) for grid in fingerprint.grids)
        for axis in range(3)
    )
    return (x, y, z)


def _patch(spacing: Spacing, sides: Sequence[float], classes: int, memory: float) -> tuple[Rule, Topology]:
    patch, net = fit_patch(spacing, sides, classes, memory)
    volume = " x ".join(f"{side:g}" for side in sides)
    reason = (
        f"the largest patch with which a batch of 2 fits into {memory:g} GB; the median volume is {volume}"
    )
    if len(net.strides) < 3:
        patch, net = fit_patch(spacing, [max(side, _SMALLEST) for side in sides], classes, memory)
        reason = f"at least {_SMALLEST} voxels a side, so that it can be halved twice; the median volume is {volume}"
    halvings = ", ".join(f"{axis} {number}" for axis, number in zip(_AXES, net.halvings, strict=True))
    return Rule("patch", patch, f"{reason}; halved {halvings} times"), net


def _batch(
    fingerprint: Fingerprint, patch: Triple, sides: Sequence[float], net: Topology, memory: float
) -> Rule:
    voxels = math.prod(sides) * len(fingerprint.grids)
    batch = batch_size(patch, net, fingerprint.classes, voxels, memory)
    more = batch_size(patch, net, fingerprint.classes, 2 * voxels, memory)
    why = "at most 5 % of the dataset's voxels" if more > batch else f"what fits into {memory:g} GB"
    return Rule(
        "batch", batch, "the smallest batch; the patch is chosen for it" if batch == LEAST_BATCH else why
    )


def intensity(fingerprint: Fingerprint) -> Iterator[Rule]:
    """Yield how intensities are normalised: CT by those of what is labelled in all cases, others each volume by itself."""
    yield Rule("crop", "foreground", "always: to the box around all voxels that are not 0")
    if fingerprint.is_ct and fingerprint.levels is None:
        yield Rule("intensity", "ct_soft_tissue", "CT, but its voxels were not read: a fixed window")
    elif fingerprint.is_ct and fingerprint.levels:
        levels = fingerprint.levels
        values = [round(one, 2) for one in (levels.low, levels.high, levels.mean, levels.deviation)]
        yield Rule("intensity", "ct", "every channel is CT: one scale for all cases")
        yield Rule("intensity_levels", values, "percentiles 0.5 and 99.5, mean and sd of labelled voxels")
    elif fingerprint.share is not None and fingerprint.share < _CROPPED:
        reason = f"not CT; the voxels that are not 0 lie in a box of {fingerprint.share:.0%} of a volume, below 75 %"
        yield Rule("intensity", "zscore_nonzero", reason)
    else:
        yield Rule("intensity", "zscore", "not CT: each volume by itself")


def loss(patch: Triple, sides: Sequence[float]) -> Rule:
    """Return the loss: Dice over the batch where a patch shows little of a volume, else per sample."""
    share = math.prod(patch) / math.prod(sides)
    if share < _LOW_RESOLUTION:
        return Rule("loss", "dice_ce_nnunet", f"a patch shows {share:.0%} of a volume, below 25 %")
    return Rule("loss", "dice_ce_nnunet_sample", f"a patch shows {min(1, share):.0%} of a volume")


def mirror_axes(labels: Sequence[str]) -> Rule:
    """Return the axes along which patches are mirrored: all along which no label would become another by its name."""
    words = [re.findall(r"[a-z0-9]+", name.casefold()) for name in labels]
    kept = {0, 1, 2}
    for pair, axis in zip(_OPPOSITE, _ALONG, strict=True):
        one, other = pair
        if any(one in own and [other if word == one else word for word in own] in words for own in words):
            kept.discard(axis)
    without = " and ".join(_AXES[axis] for axis in range(3) if axis not in kept)
    reason = f"not along {without}: some labels differ only by that side (nnU-Net mirrors all axes)"
    return Rule("augmentation.mirror_axes", tuple(sorted(kept)), reason if without else "all axes")


def turning(patch: Triple, spacing: Spacing) -> Iterator[Rule]:
    """Yield how patches are turned: within slices, where they are far apart, else about all axes."""
    coarse = _coarsest(spacing)
    thin = max(patch) > FAR * patch[coarse]
    where = "augmentation"
    if not thin:
        degrees = NNUNET["augmentation"]["rotation"]
        yield Rule(
            f"{where}.rotation",
            degrees,
            f"no side of the patch is over 3 times as long as that along {_AXES[coarse]}",
        )
    elif coarse == 2:
        for key, value in PLANAR.items():
            yield Rule(f"{where}.{key}", value, "the patch is thin along z: it is turned within slices")
    else:
        reason = f"the patch is thin along {_AXES[coarse]}: turning it would mix slices (nnU-Net turns within them)"
        yield Rule(f"{where}.rotation", 0.0, reason)


def _rest(known: set[str]) -> Iterator[Rule]:
    """Yield what nnU-Net does with every dataset."""
    for key, value in NNUNET.items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, inner in parts:
            path = f"{key}.{part}".rstrip(".")
            if path not in known:
                yield Rule(path, inner, "nnU-Net's for every dataset")
    yield Rule("augmentation.version", 2, "the same changes in less time")


def _set_back(default: Mapping[str, Any], rules: Sequence[Rule]) -> Iterator[Rule]:
    """Yield the harness' values of what a dataset's own recipe sets beside the rules."""
    known = {rule.key for rule in rules}
    for key, value in default.items():
        for part in value if isinstance(value, Mapping) else [""]:
            path = f"{key}.{part}".rstrip(".")
            fields = Augmentation.model_fields if part else Recipe.model_fields
            if path not in known and path not in _TRAINING:
                yield Rule(
                    path,
                    fields[part or key].default,
                    "the harness' default, in place of the dataset's own value",
                )


def _coarsest(spacing: Sequence[float]) -> int:
    """Return the axis of the largest spacing, of equals the last."""
    return max(range(3), key=lambda axis: (spacing[axis], axis))


def _triple(values: Sequence[Any]) -> tuple[Any, Any, Any]:
    x, y, z = values
    return (x, y, z)
