"""Sliding windows: where they lie, how much each voxel of one counts, and their mean over a volume, plane by plane.

Planes are finished in order, so that no more of them are held than a window is thick. This file needs nothing else of
the harness: ``medctx export`` puts a copy of it into a bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from harness.spec import Recipe

Predictor = Callable[[Tensor], Tensor]
"""From windows ``(B, C, X, Y, Z)`` to logits ``(B, K, X, Y, Z)``, float32."""
Start = tuple[int, int, int]
_NNUNET_SIGMA = 1 / 8  # of a window's side


class Sums(Protocol):
    """What takes up the planes of a volume ``(K, X, Y, Z)``."""

    def add(self, first: int, planes: Tensor) -> None:
        """Add planes ``(K, n, Y, Z)`` from ``first`` on."""

    def change(self, function: Callable[[Tensor], Tensor]) -> None:
        """Replace all planes, a few at a time."""


def predict_by_windows(
    logits: Predictor, image: Tensor, recipe: Recipe, new_sums: Callable[[int], Sums]
) -> None:
    """Write the class probabilities of an image ``(1, C, X, Y, Z)``.

    Args:
        logits: of windows.
        image: on the device of the network.
        recipe: its patch, batch, overlap, window, window_average and flips are read: how windows lie and count, what is
            averaged, and which axes are mirrored: all combinations of ``flips``, of each window with nnU-Net's windows,
            else of the volume.
        new_sums: given the number of classes, returns where to write.
    """
    of_logits = recipe.window_average == "logits"
    predictor = logits if of_logits else lambda window: logits(window).softmax(dim=1)
    variants = [axes for n in range(len(recipe.flips) + 1) for axes in combinations(recipe.flips, n)]
    if recipe.window == "nnunet":
        predictor, variants = _mirrored(predictor, variants), [()]
    sums = None
    for axes in variants:
        dims = [axis + 2 for axis in axes]
        for first, planes in _volume_means(predictor, image.flip(dims) if dims else image, recipe):
            if sums is None:
                sums = new_sums(planes.shape[0])
            start = image.shape[2] - first - planes.shape[1] if 0 in axes else first
            sums.add(start, planes.flip([axis + 1 for axis in axes]) if axes else planes)
    assert sums is not None
    if len(variants) > 1:
        sums.change(lambda planes: planes / len(variants))
    if of_logits:
        sums.change(lambda planes: planes.softmax(dim=0))


def _mirrored(predictor: Predictor, variants: Sequence[tuple[int, ...]]) -> Predictor:
    """Return the mean of a predictor over mirrored windows."""
    if len(variants) == 1:
        return predictor

    def mean(window: Tensor) -> Tensor:
        total: Any = 0.0
        for axes in variants:
            dims = [axis + 2 for axis in axes]
            total = total + predictor(window.flip(dims)).flip(dims)
        return total / len(variants)

    return mean


def _volume_means(predictor: Predictor, image: Tensor, recipe: Recipe) -> Iterator[tuple[int, Tensor]]:
    """Yield the mean of all windows, first plane and planes ``(K, n, Y, Z)``; what is smaller than one is padded with 0."""
    missing = [max(side - own, 0) for side, own in zip(recipe.patch, image.shape[2:], strict=True)]
    before = [side // 2 for side in missing]
    padding = [(first, side - first) for first, side in zip(before, missing, strict=True)]
    padded = pad(image, [one for pair in reversed(padding) for one in pair]) if any(missing) else image
    sides = [int(side) for side in padded.shape[2:]]
    starts = window_starts(sides, recipe.patch, recipe.overlap, recipe.window)
    weights = window_weights(recipe.patch, recipe.window).to(image.device)
    within = tuple(slice(b, b + own) for b, own in zip(before, image.shape[2:], strict=True))
    for first, planes in _finished_planes(predictor, padded, starts, weights, recipe.batch):
        low, high = max(first, within[0].start), min(first + planes.shape[0], within[0].stop)
        if low < high:
            own = planes[low - first : high - first, :, within[1], within[2]]
            yield low - within[0].start, own.transpose(0, 1)


def _finished_planes(
    predictor: Predictor, image: Tensor, starts: Sequence[Start], weights: Tensor, batch: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield first plane and planes ``(n, K, Y, Z)`` as soon as no window to come reaches them.

    They are overwritten when the next ones are asked for. ``starts`` ascend along the first axis.
    """
    depth, height, width = weights.shape
    sums, counts, origin = torch.empty(0), torch.empty(0), 0
    for index in range(0, len(starts), batch):
        group = starts[index : index + batch]
        windows = [image[:, :, x : x + depth, y : y + height, z : z + width] for x, y, z in group]
        outputs = predictor(torch.cat(windows) if batch > 1 else windows[0]) * weights
        for (x, y, z), output in zip(group, outputs, strict=True):
            if not sums.numel():
                sums = output.new_zeros(depth, len(output), *image.shape[3:])
                counts = output.new_zeros(depth, 1, *image.shape[3:])
            if x > origin:
                done = x - origin
                sums[:done] /= counts[:done]
                yield origin, sums[:done]
                _shift(sums, done)
                _shift(counts, done)
                origin = x
            place = (slice(None), slice(None), slice(y, y + height), slice(z, z + width))
            sums[place] += output.transpose(0, 1)
            counts[place] += weights[:, None]
    sums /= counts
    yield origin, sums


def _shift(planes: Tensor, by: int) -> None:
    """Move planes to the front, and put zeros behind them; in place, one after another."""
    kept = max(len(planes) - by, 0)
    for index in range(kept):
        planes[index] = planes[index + by]
    planes[kept:] = 0


def window_starts(
    sides: Sequence[int], window: Sequence[int], overlap: float, rule: str
) -> list[tuple[int, int, int]]:
    """Return where windows begin, the first axis slowest.

    ``nnunet``: as few as overlap enough, spread evenly (38 voxels left at steps of 16: 0, 13, 25, 38). Else MONAI's: a
    step apart, the last one moved back to the end (0, 16, 32, 38).

    Args:
        sides: of the volume, none smaller than the window's.
        window: its sides.
        overlap: of neighbours, as a share, from 0 to below 1.
        rule: ``nnunet``, or another kind of window.
    """
    if rule == "nnunet":
        along = [
            _even_starts(side, own, own * (1 - overlap)) for side, own in zip(sides, window, strict=True)
        ]
        return [(x, y, z) for x, y, z in product(*along)]
    steps = [
        own if own == side else max(int(own * (1 - overlap)), 1)
        for side, own in zip(sides, window, strict=True)
    ]
    regions = dense_patch_slices(sides, window, steps)
    return [(int(x.start), int(y.start), int(z.start)) for x, y, z in regions]


def _even_starts(side: int, window: int, step: float) -> list[int]:
    """Return nnU-Net's starts along one axis."""
    steps = ceil((side - window) / step)
    return [round((side - window) / max(steps, 1) * index) for index in range(steps + 1)]


def window_weights(window: Sequence[int], rule: str) -> Tensor:
    """Return how much each voxel of a window counts, ``(X, Y, Z)`` float32.

    ``gaussian`` and ``constant`` are MONAI's: the Gaussian peaks at the middle of the window, and nothing counts less than
    1/1000. ``nnunet`` is nnU-Net's: it peaks at voxel side // 2, and what is 0 counts as the smallest of the others.
    """
    if rule != "nnunet":
        return compute_importance_map(tuple(window), mode=rule, sigma_scale=0.125)
    point = np.zeros(tuple(window))
    point[tuple(side // 2 for side in window)] = 1
    smooth = ndimage.gaussian_filter(point, [side * _NNUNET_SIGMA for side in window], mode="constant")
    weights = (smooth / smooth.max()).astype(np.float32)
    weights[weights == 0] = weights[weights > 0].min()
    return torch.from_numpy(weights)
