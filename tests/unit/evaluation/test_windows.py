"""Where windows lie and how much they count: by hand, by formula, and beside MONAI's own sliding window."""

from __future__ import annotations

from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from harness.evaluation import prediction
from harness.evaluation.prediction import class_probabilities, predict
from harness.evaluation.probabilities import Probabilities
from harness.evaluation.windows import window_starts, window_weights
from harness.spec import Recipe

CPU = torch.device("cpu")
PATCH = (8, 6, 4)


def recipe(**given: Any) -> Recipe:
    return Recipe(patch=PATCH, spacing=(1, 1, 1), **given)


def image(shape: tuple[int, ...] = (19, 11, 9)) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Return a network whose output depends on a window's border, and on its neighbours in no batch."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(2, 3, 3, padding=1), nn.InstanceNorm3d(3), nn.ReLU(), nn.Conv3d(3, 3, 3, padding=1)
    ).eval()


def test_38_voxels_left_by_hand() -> None:
    def along(rule: str) -> list[int]:
        return [x for x, _, _ in window_starts((70, 32, 32), (32, 32, 32), 0.5, rule)]

    assert along("nnunet") == [0, 13, 25, 38]
    assert along("gaussian") == along("constant") == [0, 16, 32, 38]


def test_the_example_of_the_original_by_hand() -> None:
    """110 voxels, windows of 64, half overlapping: three, at 0, 23 and 46."""
    assert [z for _, _, z in window_starts((4, 4, 110), (4, 4, 64), 0.5, "nnunet")] == [0, 23, 46]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(window=st.integers(1, 40), more=st.integers(0, 120), overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_even_windows_reach_both_ends_and_are_as_few_as_overlap_enough(
    window: int, more: int, overlap: float
) -> None:
    starts = [x for x, _, _ in window_starts((window + more, 3, 3), (window, 3, 3), overlap, "nnunet")]
    assert starts[0] == 0 and starts[-1] == more
    step = window * (1 - overlap)
    gaps = np.diff(starts)
    if more:
        assert gaps.max() < step + 1 and gaps.max() - gaps.min() <= 1
        assert (len(starts) - 2) * step < more, "one less would not do"
    else:
        assert starts == [0]


@pytest.mark.parametrize("side", [7, 8, 31, 32, 48])
def test_the_weights_of_nnunet_are_a_gaussian_about_the_middle_voxel(side: int) -> None:
    along = window_weights((side, 1, 1), "nnunet")[:, 0, 0].numpy()
    assert along.argmax() == side // 2 and along.max() == 1
    expected = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * (side / 8) ** 2))
    np.testing.assert_allclose(along, expected, rtol=1e-5)


def test_the_weights_of_nnunet_in_space() -> None:
    shape = (32, 24, 17)
    point = np.zeros(shape)
    point[16, 12, 8] = 1
    expected = ndimage.gaussian_filter(point, [4.0, 3.0, 17 / 8], mode="constant")
    weights = window_weights(shape, "nnunet").numpy()
    np.testing.assert_allclose(weights, expected / expected.max(), rtol=1e-5)
    assert weights.dtype == np.float32 and weights.min() > 0
    assert (weights < 1e-3).mean() > 0.5, "MONAI's are no smaller than that"
    assert window_weights(shape, "gaussian").min() == pytest.approx(1e-3)


def test_weights_that_vanish_count_as_the_smallest_of_the_others() -> None:
    """In single precision a corner of a very long window would be 0, and the mean not a number."""
    weights = window_weights((2, 2, 600), "nnunet")
    assert (weights > 0).all() and torch.isfinite(weights).all()


def by_hand(
    network: nn.Module, volume: NDArray[np.float32], starts: list[list[int]], weights: NDArray, flips: Any
) -> tuple[NDArray, NDArray]:
    """Return the weighted means of probabilities and of logits over mirrored windows, ``(K, X, Y, Z)``."""
    sums = [np.zeros((3, *volume.shape[1:])), np.zeros((3, *volume.shape[1:]))]
    counts = np.zeros(volume.shape[1:])
    variants = [axes for n in range(len(flips) + 1) for axes in combinations(flips, n)]
    for corner in product(*starts):
        place = tuple(slice(c, c + side) for c, side in zip(corner, PATCH, strict=True))
        counts[place] += weights
        for axes in variants:
            dims = [axis + 1 for axis in axes]
            window = np.flip(volume[(slice(None), *place)], dims).copy()
            with torch.no_grad():
                logits = network(torch.from_numpy(window)[None])[0].double().numpy()
            exps = np.exp(logits - logits.max(axis=0))
            for total, value in zip(sums, (exps / exps.sum(axis=0), logits), strict=True):
                total[(slice(None), *place)] += np.flip(value, dims) * weights / len(variants)
    return sums[0] / counts, sums[1] / counts


@pytest.mark.parametrize("flips", [(), (0, 2)])
def test_nnunets_windows_are_mirrored_one_by_one(network: nn.Module, flips: Any) -> None:
    starts = [[0, 4, 7, 11], [0, 2, 5], [0, 2, 3, 5]]  # 11, 5 and 5 voxels left, steps of at most 4, 3 and 2
    point = np.zeros(PATCH)
    point[4, 3, 2] = 1
    weights = ndimage.gaussian_filter(point, [1.0, 0.75, 0.5], mode="constant")
    expected, _ = by_hand(network, image(), starts, weights, flips)
    found = predict(network, image(), recipe(window="nnunet", flips=flips), CPU)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    if flips:
        volumes = predict(network, image(), recipe(window="gaussian", flips=flips), CPU)
        assert abs(found - volumes).max() > 1e-3


def test_the_mean_of_logits_is_not_that_of_probabilities(network: nn.Module) -> None:
    starts = [[0, 4, 8, 11], [0, 3, 5], [0, 2, 4, 5]]
    both = by_hand(network, image(), starts, np.ones(PATCH), ())
    exps = np.exp(both[1])
    of_logits = predict(network, image(), recipe(window="constant", window_average="logits"), CPU)
    np.testing.assert_allclose(of_logits, exps / exps.sum(axis=0), atol=2e-6)
    np.testing.assert_allclose(of_logits.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(predict(network, image(), recipe(window="constant"), CPU), both[0], atol=2e-6)


def test_the_mean_of_logits_of_mirrored_volumes(network: nn.Module) -> None:
    made = recipe(window="constant", window_average="logits", flips=(0,), overlap=0.0)
    found = predict(network, image((8, 6, 4)), made, CPU)
    with torch.no_grad():
        whole = torch.from_numpy(image((8, 6, 4)))[None]
        mean = (network(whole) + network(whole.flip(2)).flip(2)) / 2
    np.testing.assert_allclose(found, mean.softmax(dim=1)[0].numpy(), atol=1e-6)


def monai(network: nn.Module, volume: NDArray[np.float32], made: Recipe) -> NDArray[np.float32]:
    """Return what MONAI's sliding window gives, averaged over mirrored volumes."""
    tensor, total = torch.from_numpy(volume)[None].to(memory_format=torch.channels_last_3d), 0.0
    variants = [axes for n in range(len(made.flips) + 1) for axes in combinations(made.flips, n)]

    def probabilities(window: Tensor) -> Tensor:
        return network(window).softmax(dim=1)

    for axes in variants:
        dims = [axis + 2 for axis in axes]
        with torch.no_grad():
            output: Any = sliding_window_inference(
                tensor.flip(dims), made.patch, made.batch, probabilities, made.overlap, made.window
            )
        total = total + output.flip(dims)
    return (total / len(variants))[0].numpy()


@pytest.mark.parametrize("window", ["gaussian", "constant"])
@pytest.mark.parametrize("shape", [(19, 9, 7), (8, 6, 4), (5, 11, 3), (3, 2, 2)])
@pytest.mark.parametrize(
    ("overlap", "batch", "flips"), [(0.75, 2, ()), (0.0, 1, (0,)), (0.5, 3, (0, 2)), (0.5, 2, (0, 1, 2))]
)
def test_plane_by_plane_gives_monais_probabilities(
    network: nn.Module, window: Any, shape: tuple[int, ...], overlap: float, batch: int, flips: Any
) -> None:
    made = recipe(window=window, overlap=overlap, batch=batch, flips=flips)
    ours, theirs = predict(network, image(shape), made, CPU), monai(network, image(shape), made)
    # on some processors the last bits of a convolution depend on how many windows share a batch
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "made", [recipe(), recipe(flips=(0, 1)), recipe(window_average="logits", flips=(0,))]
)
def test_probabilities_in_a_file_have_the_same_bits(network: nn.Module, made: Recipe) -> None:
    held = class_probabilities(network, image(), made, CPU)
    filed = class_probabilities(network, image(), made, CPU, in_memory=0)
    assert held.shape == filed.shape == (3, 19, 11, 9)
    np.testing.assert_array_equal(held.array(), filed.array())
    for one, other in zip(held, filed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("made", [recipe(), recipe(window_average="logits", flips=(0,))])
def test_probabilities_on_a_device_are_the_same(
    network: nn.Module, made: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = class_probabilities(network, image(), made, CPU)
    held = partial(Probabilities, device=CPU)  # as with a GPU
    monkeypatch.setattr(prediction, "Probabilities", lambda shape, in_memory, device: held(shape, in_memory))
    found = class_probabilities(network, image(), made, CPU)
    assert found.held is not None and expected.held is None
    np.testing.assert_allclose(found.array(), expected.array(), atol=1e-6)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
