"""Augmentation of training patches as a pure function of seed and sample; version 1 by MONAI's transforms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandRotate90d,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
    Transform,
)
from numpy.typing import NDArray
from torch import Tensor

from harness.data.affine import AffineTransform, draw_affine, largest_margin
from harness.data.changes import change_patches
from harness.data.patches import NO_MARGIN
from harness.seeding import derive_seed
from harness.spec import Augmentation, Triple


class Augmenter:
    """Applies a recipe's augmentation; the n-th sample of a trial is always changed in the same way.

    Args:
        settings: the recipe's.
        seed: of the trial.
        stream: name of the random stream; another for each source of samples.
    """

    def __init__(self, settings: Augmentation, seed: int, stream: str = "augmentation") -> None:
        self._settings, self._seed, self._stream = settings, seed, stream
        transforms = [*_spatial_transforms(settings), *_intensity_transforms(settings)]
        self._compose = Compose(transforms) if transforms and settings.version == 1 else None

    def margins(self, patch: Triple, count: int, step: int) -> list[Triple]:
        """Return how many voxels more on each side each of the ``count`` patches of update ``step`` has to be cut with."""
        if not self._settings.enlarge:
            return [NO_MARGIN] * count
        transforms = [self._affine(step * count + index) for index in range(count)]
        margins = [transform.margin(patch) if transform else NO_MARGIN for transform in transforms]
        return margins if self._settings.version > 1 else [largest_margin(margins)] * count

    def __call__(
        self,
        images: Sequence[NDArray[np.float32]],
        labels: Sequence[NDArray[np.uint8]],
        step: int,
        margins: Sequence[Triple] = (),
        into: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> tuple[Tensor, Tensor]:
        """Return images ``(B, C, D, H, W)`` float and labels ``(B, 1, D, H, W)``, bytes, of update ``step``.

        Args:
            images: patches, each side longer by twice its margin; they are left as they are.
            labels: theirs, likewise.
            step: number of the update, from 0.
            margins: those of the step; none where no patch has one.
            into: tensors ``image`` and ``label`` that version 2 writes to, and returns, in place of new ones.
        """
        changed = self._changed({"image": images, "label": labels}, step, margins, into)
        return changed["image"], changed["label"].byte()

    def images(
        self,
        images: Sequence[NDArray[np.float32]],
        step: int,
        margins: Sequence[Triple] = (),
        into: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> Tensor:
        """Return images ``(B, C, D, H, W)`` of update ``step``, of which there are no labels."""
        return self._changed({"image": images}, step, margins, into)["image"]

    def _changed(
        self,
        arrays: dict[str, Sequence[NDArray[Any]]],
        step: int,
        margins: Sequence[Triple],
        into: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        count = len(arrays["image"])
        margins = margins or [NO_MARGIN] * count
        numbers = range(step * count, (step + 1) * count)
        if self._settings.version > 1:
            turns = [self._affine(number) for number in numbers]
            stream = self._seed, self._stream
            return change_patches(arrays, self._settings, stream, numbers, margins, turns, into)
        set_track_meta(False)
        samples = []
        for index, number in enumerate(numbers):
            sample = {key: torch.from_numpy(np.array(values[index])) for key, values in arrays.items()}
            samples.append(self._change(sample, number, margins[index]))
        return {key: torch.stack([sample[key] for sample in samples]) for key in arrays}

    def _change(self, sample: dict[str, Tensor], number: int, margin: Triple) -> dict[str, Tensor]:
        if _draws_affine(self._settings):
            transform = self._affine(number)
            sides = zip(sample["image"].shape[1:], margin, strict=True)
            x, y, z = (slice(more, side - more) for side, more in sides)
            size = (x.stop - x.start, y.stop - y.start, z.stop - z.start)
            for key, values in sample.items():
                mode = "nearest" if key == "label" else "bilinear"
                sample[key] = transform.apply(values, size, mode) if transform else values[:, x, y, z]
        if self._compose is None:
            return sample
        self._compose.set_random_state(derive_seed(self._seed, self._stream, number) % 2**32)
        changed: dict[str, Tensor] = self._compose(sample)
        return changed

    def _affine(self, number: int) -> AffineTransform | None:
        if not _draws_affine(self._settings):
            return None
        return draw_affine(self._settings, self._seed, self._stream, number)


def _draws_affine(settings: Augmentation) -> bool:
    """Return whether :mod:`harness.data.affine` rotates and scales, and not MONAI's RandAffined.

    RandAffined came first: trials without the later settings keep their numbers.
    """
    changes = bool(settings.rotation or settings.scaling or settings.scale_range)
    later = settings.enlarge or settings.scale_range is not None or settings.version > 1
    return bool(settings.affine_probability) and changes and later


def _spatial_transforms(settings: Augmentation) -> Iterator[Transform]:
    """Yield the changes of shape that can have an effect."""
    both = ("image", "label")
    if (
        settings.affine_probability
        and (settings.rotation or settings.scaling)
        and not _draws_affine(settings)
    ):
        angle, scaling = np.deg2rad(settings.rotation), settings.scaling
        yield RandAffined(
            both,
            prob=settings.affine_probability,
            rotate_range=(0.0, 0.0, angle) if settings.planar else (angle,) * 3,
            scale_range=(scaling, scaling, 0.0) if settings.planar else (scaling,) * 3,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
            cache_grid=False,
            allow_missing_keys=True,
        )
    if settings.rotate90_probability:
        yield RandRotate90d(both, settings.rotate90_probability, max_k=3, allow_missing_keys=True)
    if settings.mirror_probability:
        for axis in settings.mirror_axes:
            yield RandFlipd(both, settings.mirror_probability, axis, allow_missing_keys=True)


def _intensity_transforms(settings: Augmentation) -> Iterator[Transform]:
    """Yield the changes of intensity that can have an effect; ranges and order of the later ones are nnU-Net's."""
    image = ("image",)
    if settings.noise_probability:
        yield RandGaussianNoised(image, settings.noise_probability, std=settings.noise)
    if settings.blur_probability:
        sigma = (0.5, 1.0)
        yield RandGaussianSmoothd(image, sigma, sigma, sigma, prob=settings.blur_probability)
    if settings.brightness_probability:
        yield RandScaleIntensityd(image, 0.25, settings.brightness_probability)
    if settings.contrast_probability:
        yield RandScaleIntensityFixedMeand(
            image, factors=0.25, fixed_mean=True, preserve_range=True, prob=settings.contrast_probability
        )
    if settings.low_resolution_probability:
        yield RandSimulateLowResolutiond(image, settings.low_resolution_probability, zoom_range=(0.5, 1.0))
    for inverted, probability in (
        (True, settings.inverted_gamma_probability),
        (False, settings.gamma_probability),
    ):
        if probability:
            yield RandAdjustContrastd(
                image, probability, gamma=(0.7, 1.5), invert_image=inverted, retain_stats=True
            )
    if settings.intensity_probability:
        yield RandScaleIntensityd(image, settings.intensity_scale, settings.intensity_probability)
        yield RandShiftIntensityd(image, settings.intensity_shift, prob=settings.intensity_probability)
