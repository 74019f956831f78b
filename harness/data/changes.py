"""Version 2 of the augmentation: only what was drawn is done, in float32, into the batch itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.affine import AffineTransform
from harness.data.intensity import change_intensity, drawn
from harness.seeding import numpy_generator
from harness.spec import Augmentation, Triple

_MODES = {"image": "bilinear", "label": "nearest"}
_TYPES = {"image": torch.float32, "label": torch.uint8}


def change_patches(
    arrays: Mapping[str, Sequence[NDArray[Any]]],
    settings: Augmentation,
    stream: tuple[int, str],
    numbers: Sequence[int],
    margins: Sequence[Triple],
    turns: Iterable[AffineTransform | None],
    into: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Return the batch ``(B, C, X, Y, Z)`` of patches ``image``, float32, and ``label``, bytes, where there are labels.

    Args:
        arrays: patches as they were cut, each side longer by twice its margin; they are left as they are.
        settings: the recipe's.
        stream: seed of the trial and name of the random stream.
        numbers: of the samples in that stream.
        margins: theirs.
        turns: how each is turned; None: not at all.
        into: tensors of the batch to write to; new ones where there are none.
    """
    batch = dict(into)
    for index, (number, margin, turn) in enumerate(zip(numbers, margins, turns, strict=True)):
        cut = {key: values[index] for key, values in arrays.items()}
        rng = numpy_generator(*stream, "changes", number)
        patches = _mirrored(_turned(cut, margin, turn), settings, rng)
        for key, patch in patches.items():
            if key not in batch:
                batch[key] = torch.empty((len(numbers), *patch.shape), dtype=_TYPES[key])
            batch[key].numpy()[index] = patch
        change_intensity(batch["image"][index], settings, rng)
    return batch


def _turned(
    cut: Mapping[str, NDArray[Any]], margin: Triple, turn: AffineTransform | None
) -> dict[str, NDArray[Any]]:
    """Return what was cut, turned, without its margin; all of it with one set of places."""
    sides = zip(next(iter(cut.values())).shape[1:], margin, strict=True)
    x, y, z = (slice(more, side - more) for side, more in sides)
    if turn is None:
        return {key: values[:, x, y, z] for key, values in cut.items()}
    size = (x.stop - x.start, y.stop - y.start, z.stop - z.start)
    wide = [(torch.tensor(values, dtype=torch.float32), _MODES[key]) for key, values in cut.items()]
    return {key: one.numpy() for key, one in zip(cut, turn.apply_to_all(wide, size), strict=True)}


def _mirrored(
    patches: Mapping[str, NDArray[Any]], settings: Augmentation, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Return patches by quarter turns and mirrored, as drawn; nothing is copied."""
    quarters = int(rng.integers(1, 4)) if drawn(settings.rotate90_probability, rng) else 0
    axes = tuple(axis + 1 for axis in settings.mirror_axes if drawn(settings.mirror_probability, rng))
    return {key: np.flip(np.rot90(patch, quarters, (1, 2)), axes) for key, patch in patches.items()}
