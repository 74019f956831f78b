"""Augmentation of training patches by MONAI's transforms, as a pure function of seed and sample."""

from __future__ import annotations

from collections.abc import Iterator

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

from harness.seeding import derive_seed
from harness.spec import Augmentation


class Augmenter:
    """Applies a recipe's augmentation; the n-th sample of a trial is always changed in the same way.

    Args:
        settings: the recipe's.
        seed: of the trial.
        stream: name of the random stream; another for each source of samples.
    """

    def __init__(self, settings: Augmentation, seed: int, stream: str = "augmentation") -> None:
        self._seed, self._stream = seed, stream
        transforms = _transforms(settings)
        self._compose = Compose(transforms) if transforms else None

    def __call__(
        self, images: NDArray[np.float32], labels: NDArray[np.uint8], step: int
    ) -> tuple[Tensor, Tensor]:
        """Return images ``(B, C, D, H, W)`` float and labels ``(B, 1, D, H, W)`` long of update ``step``."""
        changed = self._apply({"image": torch.from_numpy(images), "label": torch.from_numpy(labels)}, step)
        return changed["image"], changed["label"].long()

    def images(self, images: NDArray[np.float32], step: int) -> Tensor:
        """Return images ``(B, C, D, H, W)`` of update ``step``, of which there are no labels."""
        return self._apply({"image": torch.from_numpy(images)}, step)["image"]

    def _apply(self, arrays: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        if self._compose is None:
            return arrays
        set_track_meta(False)
        count = len(arrays["image"])
        samples = []
        for index in range(count):
            self._compose.set_random_state(
                derive_seed(self._seed, self._stream, step * count + index) % 2**32
            )
            samples.append(self._compose({key: values[index] for key, values in arrays.items()}))
        return {key: torch.stack([sample[key] for sample in samples]) for key in arrays}


def _transforms(settings: Augmentation) -> list[Transform]:
    """Return the transforms that can have an effect, in their order."""
    return [*_spatial(settings), *_of_intensity(settings)]


def _spatial(settings: Augmentation) -> Iterator[Transform]:
    both = ("image", "label")
    if settings.affine_probability and (settings.rotation or settings.scaling):
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


def _of_intensity(settings: Augmentation) -> Iterator[Transform]:
    """Yield the changes of intensity; ranges and order of the later ones are nnU-Net's."""
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
