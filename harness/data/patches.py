"""Training patches: which case, which place, as a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harness.data.preprocessing import CaseCache
from harness.seeding import numpy_generator
from harness.spec import Recipe, Triple

NO_MARGIN: Triple = (0, 0, 0)
"""The margin of a patch is how many voxels longer it is cut at both ends of each side; this patch has none."""


class PatchSampler:
    """Draws the patches of a step; it has no state, so its position in a resumed trial is the step.

    Cases are taken in a new random order each epoch, so that all are used equally often. A share
    ``foreground`` of the patches is centred on a labelled voxel, of a label drawn evenly among those of the
    case. Where a volume is smaller than the patch, it is put at a random place in it and zeros surround it.

    Args:
        cache: preprocessed cases.
        cases: ids to draw from.
        recipe: patch size, batch and foreground share.
        seed: of the trial.
    """

    def __init__(self, cache: CaseCache, cases: Sequence[str], recipe: Recipe, seed: int) -> None:
        self._cases = list(cases)
        self._recipe = recipe
        self._seed = seed
        self._images = {case: cache.image(case) for case in cases}
        self._labels = {case: cache.label(case) for case in cases}
        self._points = {case: cache.foreground(case) for case in cases}
        self._label_rows = {case: _rows_of_labels(points) for case, points in self._points.items()}

    def draw(self, step: int, margin: Triple = NO_MARGIN) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return images ``(B, C, D, H, W)`` and labels ``(B, 1, D, H, W)`` of update ``step``.

        Args:
            step: number of the update, from 0.
            margin: voxels that the patches are longer by at both ends of each side.
        """
        images, labels = self.pieces(step, [margin] * self._recipe.batch)
        return np.stack(images), np.stack(labels)

    def pieces(
        self, step: int, margins: Sequence[Triple]
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.uint8]]]:
        """Return what :meth:`draw` does patch by patch, each with a margin of its own; they are not to be written to."""
        first = step * self._recipe.batch
        pairs = [self._draw_one(first + index, np.array(margin)) for index, margin in enumerate(margins)]
        return [image for image, _ in pairs], [label for _, label in pairs]

    def _draw_one(self, sample: int, margin: NDArray) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        case = _case_of(self._cases, sample, self._seed, "order")
        rng = numpy_generator(self._seed, "patch", sample)
        image, label = self._images[case], self._labels[case]
        sides, patch = np.array(label.shape), np.array(self._recipe.patch)
        lowest, highest = np.minimum(0, sides - patch), np.maximum(0, sides - patch)
        start = rng.integers(lowest, highest, endpoint=True)
        ranges = self._label_rows[case]
        if ranges and rng.random() < self._recipe.foreground:
            begin, end = ranges[rng.integers(len(ranges))]
            point = self._points[case][rng.integers(begin, end), 1:]
            start = np.where(sides > patch, np.clip(point - patch // 2, lowest, highest), start)
        first, size = start - margin, patch + 2 * margin
        return _crop(image, first, size), _crop(label[None], first, size)


class ImageSampler:
    """Draws patches of images alone, at places that no label has a part in: it is given none.

    Args:
        images: preprocessed images ``(C, X, Y, Z)`` by case.
        patch: size, voxels.
        batch: patches of a step.
        seed: of the trial.
        stream: name of the random stream, so that these draws shift no other.
    """

    def __init__(
        self, images: Mapping[str, NDArray[np.float32]], patch: Triple, batch: int, seed: int, stream: str
    ) -> None:
        self._images, self._cases = dict(images), sorted(images)
        self._patch, self._batch = np.array(patch), batch
        self._seed, self._stream = seed, stream

    def draw(self, step: int, margin: Triple = NO_MARGIN) -> NDArray[np.float32]:
        """Return the images ``(B, C, D, H, W)`` of update ``step``, with a ``margin`` at both ends of each side."""
        return np.stack(self.pieces(step, [margin] * self._batch))

    def pieces(self, step: int, margins: Sequence[Triple]) -> list[NDArray[np.float32]]:
        """Return what :meth:`draw` does patch by patch, each with a margin of its own; they are not to be written to."""
        first = step * self._batch
        return [self._draw_one(first + index, np.array(margin)) for index, margin in enumerate(margins)]

    def _draw_one(self, sample: int, margin: NDArray) -> NDArray[np.float32]:
        image = self._images[_case_of(self._cases, sample, self._seed, f"{self._stream} order")]
        rng = numpy_generator(self._seed, f"{self._stream} patch", sample)
        room = np.array(image.shape[1:]) - self._patch
        start = rng.integers(np.minimum(0, room), np.maximum(0, room), endpoint=True)
        return _crop(image, start - margin, self._patch + 2 * margin)


def _case_of(cases: Sequence[str], sample: int, seed: int, stream: str) -> str:
    """Return the case of the n-th sample: all in a new random order each epoch."""
    epoch, position = divmod(sample, len(cases))
    return cases[numpy_generator(seed, stream, epoch).permutation(len(cases))[position]]


def _rows_of_labels(points: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return the first row and last row + 1 of each label, in rows (label, x, y, z) sorted by label."""
    firsts = np.unique(points[:, 0], return_index=True)[1].tolist()
    return list(pairwise([*firsts, len(points)]))


def _crop(array: NDArray, start: NDArray, patch: NDArray) -> NDArray:
    """Return the patch of ``(C, X, Y, Z)`` that begins at ``start``, not copied; zeros where it lies outside."""
    inside = tuple(
        slice(max(0, first), min(side, first + size))
        for first, size, side in zip(start, patch, array.shape[1:], strict=True)
    )
    values = array[(slice(None), *inside)]
    if values.shape[1:] == tuple(patch):
        return values
    out = np.zeros((array.shape[0], *patch), array.dtype)
    place = tuple(
        slice(part.start - first, part.stop - first) for part, first in zip(inside, start, strict=True)
    )
    out[(slice(None), *place)] = values
    return out
