"""Changes of intensity against MONAI's, what was drawn being the same; and that they are drawn as often and as wide."""

from __future__ import annotations

from collections.abc import Callable

import monai.transforms as monai
import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from harness.data import intensity
from harness.data.augmentation import Augmenter
from harness.spec import Augmentation


def patch() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).gamma(2.0, size=(2, 14, 10, 6)).astype(np.float32))


@pytest.mark.parametrize(
    ("change", "theirs"),
    [
        (lambda x: intensity.blur(x, [0.5, 0.8, 1.0]), monai.GaussianSmooth((0.5, 0.8, 1.0))),
        (lambda x: intensity.change_contrast(x, 1.2), monai.ScaleIntensityFixedMean(0.2, preserve_range=True)),
        (lambda x: intensity.change_contrast(x, 0.8), monai.ScaleIntensityFixedMean(-0.2, preserve_range=True)),
        (lambda x: intensity.apply_gamma(x, 0.7), monai.AdjustContrast(0.7, retain_stats=True)),
        (lambda x: intensity.apply_gamma(x, 1.5), monai.AdjustContrast(1.5, retain_stats=True)),
    ],
)  # fmt: skip
def test_a_change_equals_monais(change: Callable[[Tensor], None], theirs: Callable[[Tensor], Tensor]) -> None:
    values = patch()
    change(values)
    torch.testing.assert_close(values, torch.as_tensor(theirs(patch())), rtol=1e-4, atol=2e-5)
    assert (values - patch()).abs().max() > 0.1


@pytest.mark.parametrize("zoom", [0.5, 0.73, 1.0])
def test_a_low_resolution_equals_monais(zoom: float) -> None:
    theirs = monai.RandSimulateLowResolution(1.0, zoom_range=(zoom, zoom))(patch())
    values = patch()
    intensity.lower_resolution(values, zoom)
    torch.testing.assert_close(values, torch.as_tensor(theirs))


def test_a_blur_weighs_neighbours_by_the_area_below_a_gaussian() -> None:
    values, sigmas = patch(), (0.5, 0.7, 1.0)
    intensity.blur(values, sigmas)
    expected = patch().numpy()
    for axis, sigma in enumerate(sigmas, start=1):
        reach = int(4 * sigma + 0.5)
        edges = stats.norm.cdf(np.arange(-reach, reach + 2) - 0.5, scale=sigma)
        expected = ndimage.correlate1d(expected, np.diff(edges), axis, mode="constant")
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-5)


def test_a_flat_patch_stays_flat() -> None:
    values = torch.full((1, 4, 4, 4), 3.0)
    intensity.apply_gamma(values, 1.4)
    intensity.change_contrast(values, 1.2)
    torch.testing.assert_close(values, torch.full((1, 4, 4, 4), 3.0))


FEATURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "brightness": lambda new, old: float((new / old).mean()),
    "contrast": lambda new, old: float(new.std() / old.std()),
    "noise": lambda new, old: float((new - old).std()),
    "blur": lambda new, old: float(new.std() / old.std()),
    "low_resolution": lambda new, old: float((new - old).std()),
    "gamma": lambda new, old: float(new.max() / old.max()),
    "inverted_gamma": lambda new, old: float(new.max() / old.max()),
    "intensity": lambda new, old: float(new.mean() / old.mean()),
}


@pytest.mark.parametrize("name", FEATURES)
def test_both_versions_draw_from_one_distribution(name: str) -> None:
    """How often a change is made, and how large it is, by Kolmogorov and Smirnov's test of what it does to a patch."""
    count, probability = 200, 0.6
    old = patch()
    found = []
    for version in (1, 2):
        settings = Augmentation(version=version, **{f"{name}_probability": probability})
        augment = Augmenter(settings, seed=0)
        features = []
        for step in range(count):
            new = augment.images([old.numpy()], step)[0]
            if not torch.equal(new, old):
                features.append(FEATURES[name](new, old))
        found.append(features)
    # of scale and shift one is enough
    expected = count * (1 - 0.4**2 if name == "intensity" else probability)
    for features in found:
        assert abs(len(features) - expected) < 4 * (expected * (1 - expected / count)) ** 0.5
    assert stats.ks_2samp(*found).pvalue > 1e-3


def test_noise_is_normal_and_every_sample_has_its_own() -> None:
    augment = Augmenter(Augmentation(noise_probability=1.0, version=2), seed=0)
    nothing = [np.zeros((1, 24, 24, 24), np.float32)] * 2
    one, other = augment.images(nothing, 0)
    for noise in (one, other):
        assert stats.kstest((noise / noise.std()).ravel()[::7].numpy(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05


def test_both_versions_turn_alike() -> None:
    """Turns are drawn in the same way, so the results are the same up to rounding."""
    settings = Augmentation(affine_probability=0.5, rotation=30.0, scale_range=(0.7, 1.4), enlarge=True)
    turned = 0
    for step in range(12):
        results = []
        for version in (1, 2):
            augment = Augmenter(settings.model_copy(update={"version": version}), seed=0)
            margins = augment.margins((12, 10, 8), 2, step)
            volume = np.random.default_rng(step).normal(size=(2, 60, 60, 60)).astype(np.float32)
            cuts = [tuple(slice(30 - more, 30 + side + more) for side, more in zip((12, 10, 8), margin, strict=True))
                    for margin in margins]  # fmt: skip
            images = [volume[(slice(None), *cut)] for cut in cuts]
            labels = [(image[:1] > 0).astype(np.uint8) for image in images]
            results.append(augment(images, labels, step, margins))
        (image, label), (again, label_again) = results
        torch.testing.assert_close(again, image, rtol=0, atol=2e-3)  # noise of 1 from voxel to voxel
        assert (label != label_again).float().mean() < 0.003
        turned += not np.array_equal(image[0].numpy(), volume[:, 30:42, 30:40, 30:38])
    assert 3 < turned < 12
