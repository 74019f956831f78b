"""Resampling a Synapse-sized case against MONAI, SimpleITK and scipy, on one core.

512 x 512 x 147 voxels of 0.67 x 0.67 x 3 mm to 1.5 x 1.5 x 2 mm, image linear and label nearest, outer faces
kept. Prints seconds (best of three), the ratio to the fastest, and the largest difference of the image and share
of labels that differ from ours, in the inner part of the volume (tools differ in what they do at its border).

    python tests/benchmarks/resampling_speed.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ |= {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}

import numpy as np
import SimpleITK as sitk
import torch
from abdomen import SHAPE, SPACING, anatomy
from monai.transforms import Resize
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.resampling import resample_linear, resample_nearest

TARGET = (1.5, 1.5, 2.0)  # mm
NEW = tuple(round(side * old / new) for side, old, new in zip(SHAPE, SPACING, TARGET, strict=True))
Pair = tuple[NDArray, NDArray]


def harness(image: NDArray, label: NDArray) -> Pair:
    return resample_linear(image, NEW), resample_nearest(label, NEW)


def scipy(image: NDArray, label: NDArray) -> Pair:
    factors = [new / old for new, old in zip(NEW, SHAPE, strict=True)]
    image, label = (
        ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True)
        for array, order in ((image, 1), (label, 0))
    )
    return image, label


def monai(image: NDArray, label: NDArray) -> Pair:
    linear = Resize(NEW, mode="trilinear", align_corners=False)
    nearest = Resize(NEW, mode="nearest-exact")
    return linear(image[None])[0].numpy(), nearest(label[None])[0].numpy()


def simpleitk(image: NDArray, label: NDArray) -> Pair:
    spacing = [side * mm / new for side, mm, new in zip(SHAPE, SPACING, NEW, strict=True)]
    found = []
    for array, interpolator in ((image, sitk.sitkLinear), (label, sitk.sitkNearestNeighbor)):
        source = sitk.GetImageFromArray(array.T)
        source.SetSpacing(SPACING)
        origin = [(new - old) / 2 for new, old in zip(spacing, SPACING, strict=True)]
        result = sitk.Resample(
            source, NEW, sitk.Transform(), interpolator, origin, spacing, source.GetDirection(), 0.0
        )
        found.append(sitk.GetArrayFromImage(result).T)
    return found[0], found[1]


def best_of_three(function: Callable[[NDArray, NDArray], Pair], image: NDArray, label: NDArray) -> tuple:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        result = function(image, label)
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main() -> None:
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    label = anatomy(1)
    noise = np.random.default_rng(0).normal(0, 20, SHAPE).astype(np.float32)
    image = np.asfortranarray(label.astype(np.float32) * 40 + noise)
    found = {f.__name__: best_of_three(f, image, label) for f in (harness, monai, simpleitk, scipy)}
    fastest = min(seconds for seconds, _ in found.values())
    inner = (slice(4, -4),) * 3
    ours = found["harness"][1]
    for name, (seconds, (new_image, new_label)) in found.items():
        apart = np.abs(new_image[inner] - ours[0][inner]).max()
        differ = np.mean(new_label[inner] != ours[1][inner])
        print(
            f"{name:10}{seconds:8.3f} s  {seconds / fastest:6.2f} times the fastest   "
            f"image {apart:.1e}   labels {differ:.1e}"
        )


if __name__ == "__main__":
    main()
