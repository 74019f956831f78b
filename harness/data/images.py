"""From an image as its file has it to what a network is given: turned to RAS, cropped, resampled, normalised.

This file and what it imports need nothing else of the harness: ``medctx export`` puts copies of them into a bundle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.native_grid import NativeGrid
from harness.data.resampling import resample_cubic, resample_linear

if TYPE_CHECKING:
    from harness.data.volume import Volume
    from harness.spec import Recipe

CT_WINDOW = (-175.0, 250.0)  # HU
SYNAPSE_LEVELS = (-958.0, 326.0, 82.95, 136.95)  # lowest, highest, mean, standard deviation, HU


def preprocess_image(image: Volume, recipe: Recipe) -> tuple[NDArray[np.float32], NativeGrid]:
    """Return an image ``(C, X, Y, Z)`` in RAS at the recipe's spacing, normalised, and the way back to its file.

    Args:
        image: as its file has it.
        recipe: its spacing, intensity, crop and resampling are read.
    """
    to_ras = nibabel.io_orientation(image.affine)
    channels = np.stack([nibabel.apply_orientation(channel, to_ras) for channel in image.array])
    whole = tuple(slice(0, side) for side in channels.shape[1:])
    kept = content_box(channels, recipe.intensity) if recipe.crop == "foreground" else whole
    x, y, z = image.array.shape[1:]
    box = tuple((part.start, part.stop) for part in kept)
    grid = NativeGrid(image.affine, image.spacing, (x, y, z), box)
    channels = channels[(slice(None), *kept)]
    shape = resampled_shape(channels.shape[1:], grid.ras_spacing, recipe.spacing)
    if shape != channels.shape[1:]:
        channels = np.stack([_resample(one, shape, grid.ras_spacing, recipe.resampling) for one in channels])
    normalised = np.stack(
        [normalise(channel, recipe.intensity, recipe.intensity_levels) for channel in channels]
    )
    return np.ascontiguousarray(normalised, dtype=np.float32), grid


def _resample(
    channel: NDArray[Any], shape: tuple[int, ...], spacing: list[float], rule: str
) -> NDArray[np.float32]:
    """Return a channel ``(X, Y, Z)`` of ``spacing`` on a grid of ``shape``, as ``recipe.resampling`` says."""
    if rule == "linear":
        return resample_linear(channel, shape)
    return resample_cubic(channel, shape, spacing, clip=rule == "cubic_clipped")


def resampled_shape(
    shape: tuple[int, ...], spacing: list[float], wanted: tuple[float, float, float]
) -> tuple[int, ...]:
    """Return the lengths of the axes at the ``wanted`` spacing, mm: rounded, half to even, at least 1 voxel."""
    rounded = np.round(np.array(shape) * np.array(spacing) / wanted)
    return tuple(np.maximum(1, rounded).astype(int).tolist())


def content_box(channels: NDArray[Any], rule: str) -> tuple[slice, ...]:
    """Return the smallest box of what is above the CT window's floor or, by other rules, of what is not 0."""
    content = ((channels > CT_WINDOW[0]) if rule == "ct_soft_tissue" else (channels != 0)).any(axis=0)
    boxes = ndimage.find_objects(content.astype(np.uint8))
    return boxes[0] if boxes else tuple(slice(0, side) for side in content.shape)


def normalise(
    channel: NDArray[Any], rule: str, levels: tuple[float, float, float, float] | None = None
) -> NDArray[np.float32]:
    """Return a channel ``(X, Y, Z)`` with its intensity rule applied.

    - ``zscore``: zero mean and unit standard deviation. ``zscore_clipped``: the same after clipping at the
      percentiles 0.5 and 99.5, for images with outliers. ``zscore_nonzero``: the same within what is not 0,
      which stays 0, for skull-stripped MRI.
    - ``ct_soft_tissue``: -175 to 250 HU to 0 to 1, clipped (UNETR's BTCV pipeline). ``ct_synapse``: clipped at
      and normalised by the foreground statistics of Synapse that nnFormer and UNETR++ use. ``ct``: the same by
      ``levels``: lowest and highest intensity, mean and standard deviation (nnU-Net's rule for CT).
    - ``none``: as it is.
    """
    values = np.asarray(channel, dtype=np.float32)
    if rule == "none":
        return values
    if rule == "ct_soft_tissue":
        low, high = CT_WINDOW
        return (np.clip(values, low, high) - np.float32(low)) / np.float32(high - low)
    if rule in ("ct", "ct_synapse"):
        levels = SYNAPSE_LEVELS if rule == "ct_synapse" else levels
        assert levels is not None
        low, high, mean, deviation = levels
        return (np.clip(values, low, high) - np.float32(mean)) / np.float32(deviation)
    if rule == "zscore_clipped":
        values = np.clip(values, *np.percentile(values, (0.5, 99.5)))
    chosen = values[values != 0] if rule == "zscore_nonzero" else values
    if not chosen.size:
        return values
    centre, width = chosen.mean(dtype=np.float64), max(float(chosen.std(dtype=np.float64)), 1e-8)
    scaled = np.empty_like(values)
    for own, plane in zip(
        values, scaled, strict=True
    ):  # one after another: float64 takes eight bytes a voxel
        plane[...] = (own - centre) / width
        if rule == "zscore_nonzero":
            plane[own == 0] = 0
    return scaled
