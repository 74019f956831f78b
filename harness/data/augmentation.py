"""Augmentation of training patches by MONAI's transforms, as a pure function of seed and sample."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
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
    both, image = ("image", "label"), ("image",)
    chosen: list[Transform] = []
    if settings.affine_probability and (settings.rotation or settings.scaling):
        chosen.append(
            RandAffined(
                both,
                prob=settings.affine_probability,
                rotate_range=(np.deg2rad(settings.rotation),) * 3,
                scale_range=(settings.scaling,) * 3,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
                cache_grid=False,
                allow_missing_keys=True,
            )
        )
    if settings.mirror_probability:
        chosen += [
            RandFlipd(both, settings.mirror_probability, axis, allow_missing_keys=True)
            for axis in settings.mirror_axes
        ]
    if settings.noise_probability:
        chosen.append(RandGaussianNoised(image, settings.noise_probability, std=settings.noise))
    if settings.intensity_probability:
        chosen.append(RandScaleIntensityd(image, settings.intensity_scale, settings.intensity_probability))
        chosen.append(
            RandShiftIntensityd(image, settings.intensity_shift, prob=settings.intensity_probability)
        )
    return chosen
