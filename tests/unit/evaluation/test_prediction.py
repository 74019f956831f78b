from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.evaluation.prediction import predict
from harness.spec import Recipe

CPU = torch.device("cpu")


def recipe(**settings: Any) -> Recipe:
    return Recipe(patch=(8, 8, 4), spacing=(1, 1, 1), **settings)


def image(shape: tuple[int, ...] = (13, 9, 7)) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)


class Pointwise(nn.Module):
    """Two classes from each voxel alone; notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[tuple[int, ...]] = set()
        self.modes: set[bool] = set()
        self.precisions: set[torch.dtype] = set()
        self.mix = nn.Linear(2, 2)

    def forward(self, window: Tensor) -> Tensor:
        self.sizes.add(tuple(window.shape[2:]))
        self.modes.add(self.training)
        logits = torch.cat([window, window.square() - 1], dim=1)
        self.precisions.add(self.mix(logits.movedim(1, -1)).dtype)
        return logits


def direct(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return Pointwise()(torch.from_numpy(volume)[None]).softmax(dim=1)[0].numpy()


@pytest.mark.parametrize("window", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_windows_of_a_pointwise_network_add_up_to_the_direct_result(window: Any, overlap: float) -> None:
    network = Pointwise()
    result = predict(network, image(), recipe(window=window, overlap=overlap), CPU)
    assert result.shape == (2, 13, 9, 7) and result.dtype == np.float32
    np.testing.assert_allclose(result, direct(image()), atol=1e-6)
    assert network.sizes == {(8, 8, 4)}


@pytest.mark.parametrize("shape", [(5, 9, 7), (3, 3, 3), (8, 8, 4)])
def test_a_volume_smaller_than_the_window_is_padded_and_cut_again(shape: tuple[int, int, int]) -> None:
    network = Pointwise()
    result = predict(network, image(shape), recipe(), CPU)
    np.testing.assert_allclose(result, direct(image(shape)), atol=1e-6)
    assert network.sizes == {(8, 8, 4)}


class Border(nn.Module):
    """Marks the first plane of a window along x: the weight of a window's border shows in the result."""

    def forward(self, window: Tensor) -> Tensor:
        mark = torch.zeros_like(window)
        mark[:, :, 0] = 8.0
        return torch.cat([torch.zeros_like(mark), mark], dim=1)


def test_gaussian_windows_trust_their_border_less_than_constant_ones() -> None:
    volume = np.zeros((1, 16, 8, 4), np.float32)
    settings: dict[str, Any] = {"overlap": 0.5}
    constant = predict(Border(), volume, recipe(window="constant", **settings), CPU)[1, 4, 4, 2]
    gaussian = predict(Border(), volume, recipe(window="gaussian", **settings), CPU)[1, 4, 4, 2]
    assert gaussian < constant - 0.1


class Sided(nn.Module):
    """Sees more of class 1 the further along each axis, whatever the image."""

    def forward(self, window: Tensor) -> Tensor:
        x, y, z = (torch.linspace(-1, 1, side) for side in window.shape[2:])
        slope = (x[:, None, None] + 2 * y[:, None] + 3 * z).expand_as(window)
        return torch.cat([torch.zeros_like(slope), slope], dim=1)


@pytest.mark.parametrize(
    ("flips", "variants"),
    [
        ((), [()]),
        ((0,), [(), (0,)]),
        ((1, 2), [(), (1,), (2,), (1, 2)]),
        ((0, 1, 2), [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]),
    ],
)
def test_flips_average_all_combinations_of_the_mirrored_axes(
    flips: Any, variants: list[tuple[int, ...]]
) -> None:
    volume = np.zeros((1, 8, 8, 4), np.float32)
    plain = predict(Sided(), volume, recipe(), CPU)
    expected = np.mean([np.flip(plain, [axis + 1 for axis in axes]) for axes in variants], axis=0)
    result = predict(Sided(), volume, recipe(flips=flips), CPU)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    for axis in flips:
        np.testing.assert_allclose(result, np.flip(result, axis + 1), atol=1e-6)


def test_flips_of_a_pointwise_network_change_nothing() -> None:
    result = predict(Pointwise(), image((5, 9, 7)), recipe(flips=(0, 1, 2)), CPU)
    np.testing.assert_allclose(result, direct(image((5, 9, 7))), atol=1e-6)


def test_a_network_predicts_in_eval_mode_and_goes_back_to_its_own() -> None:
    for training in (True, False):
        network = Pointwise().train(training)
        predict(network, image(), recipe(), CPU)
        assert network.modes == {False} and network.training is training


class Deep(Pointwise):
    def forward(self, window: Tensor) -> Any:
        logits = super().forward(window)
        return [logits, nn.functional.avg_pool3d(logits, 2)]


def test_the_finest_output_of_deep_supervision_counts() -> None:
    np.testing.assert_allclose(predict(Deep(), image(), recipe(), CPU), direct(image()), atol=1e-6)


def test_precision_is_that_of_the_recipe_and_probabilities_are_float32() -> None:
    network = Pointwise()
    result = predict(network, image(), recipe(precision="bf16"), CPU)
    assert network.precisions == {torch.bfloat16} and result.dtype == np.float32
    np.testing.assert_allclose(result.sum(axis=0), 1.0, atol=1e-5)


def test_a_read_only_volume_of_a_cache_is_left_as_it_is() -> None:
    volume = image()
    volume.setflags(write=False)
    before = volume.copy()
    predict(Pointwise(), volume, recipe(), CPU)
    np.testing.assert_array_equal(volume, before)
