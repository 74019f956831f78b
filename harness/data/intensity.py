"""Changes of a patch's intensity, in place where that can be, with what was drawn as an argument.

The same as MONAI's transforms, which tests hold them to; ranges and order are nnU-Net's. A tensor that is changed in
place needs no fresh memory: on a CPU that costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.networks.layers import gaussian_1d
from torch import Tensor
from torch.nn.functional import conv1d, interpolate

from harness.spec import Augmentation


def change_intensity(values: Tensor, settings: Augmentation, rng: np.random.Generator) -> None:
    """Draw which changes are made of a patch ``(C, X, Y, Z)`` float32, and make those alone."""
    if drawn(settings.noise_probability, rng):
        add_noise(values, rng.uniform(0, settings.noise), rng)
    if drawn(settings.blur_probability, rng):
        blur(values, rng.uniform(0.5, 1.0, 3).tolist())
    if drawn(settings.brightness_probability, rng):
        values.mul_(rng.uniform(0.75, 1.25))
    if drawn(settings.contrast_probability, rng):
        change_contrast(values, rng.uniform(0.75, 1.25))
    if drawn(settings.low_resolution_probability, rng):
        lower_resolution(values, rng.uniform(0.5, 1.0))
    if drawn(settings.inverted_gamma_probability, rng):
        apply_gamma(values.neg_(), rng.uniform(0.7, 1.5))
        values.neg_()
    if drawn(settings.gamma_probability, rng):
        apply_gamma(values, rng.uniform(0.7, 1.5))
    if drawn(settings.intensity_probability, rng):
        values.mul_(1 + rng.uniform(-settings.intensity_scale, settings.intensity_scale))
    if drawn(settings.intensity_probability, rng):
        values.add_(rng.uniform(-settings.intensity_shift, settings.intensity_shift))


def drawn(probability: float, rng: np.random.Generator) -> bool:
    """Return whether something so probable happens; what never does draws no number."""
    return bool(probability) and bool(rng.random() < probability)


def add_noise(values: Tensor, deviation: float, rng: np.random.Generator) -> None:
    """Add Gaussian noise."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    values.add_(torch.randn(values.shape, generator=generator), alpha=deviation)


def blur(values: Tensor, sigmas: Sequence[float]) -> None:
    """Smooth by a Gaussian of ``sigmas`` voxels; it is 0 beyond the patch.

    A product with a matrix along each axis: faster than convolutions of one channel.
    """
    x, y, z = (_smoothing(side, sigma) for side, sigma in zip(values.shape[1:], sigmas, strict=True))
    for channel in values:
        along_x = torch.mm(x, channel.flatten(1)).view_as(channel)
        torch.matmul(torch.matmul(y, along_x), z, out=channel)


def _smoothing(side: int, sigma: float) -> Tensor:
    """Return the symmetric matrix ``(side, side)`` that smooths along an axis."""
    kernel = gaussian_1d(torch.tensor(sigma), truncated=4.0)
    return conv1d(torch.eye(side)[:, None], kernel[None, None], padding="same")[:, 0]


def change_contrast(values: Tensor, factor: float) -> None:
    """Move values from their mean by a ``factor``, within their range."""
    lowest, highest = (one.item() for one in torch.aminmax(values))
    mean = values.mean()
    values.sub_(mean).mul_(factor).add_(mean).clamp_(lowest, highest)


def lower_resolution(values: Tensor, zoom: float) -> None:
    """Take the nearest voxels of a grid coarser by ``zoom``, and interpolate linearly between them."""
    coarse = [max(1, round(side * zoom)) for side in values.shape[1:]]
    nearest = interpolate(values[None], size=coarse, mode="nearest")
    values.copy_(interpolate(nearest, size=values.shape[1:], mode="trilinear", align_corners=False)[0])


def apply_gamma(values: Tensor, gamma: float) -> None:
    """Raise values, scaled to 0 to 1, to a power, and give them back their mean and standard deviation."""
    lowest, highest = torch.aminmax(values)
    mean, deviation = _centre(values)
    scale = highest - lowest + 1e-7
    values.sub_(lowest - mean).clamp_(min=0).div_(scale).pow_(gamma)
    _, changed = _centre(values)
    values.mul_(deviation / (changed + 1e-8 / scale)).add_(mean)


def _centre(values: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean; return it and the standard deviation. PyTorch's ``std_mean`` takes ten times as long."""
    mean = values.mean()
    values.sub_(mean)
    return mean, torch.linalg.vector_norm(values) / max(values.numel() - 1, 1) ** 0.5
