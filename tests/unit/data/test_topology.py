"""nnU-Net's rules for patch, network and batch, against what nnU-Net 2.8.0 plans itself."""

from __future__ import annotations

import math

import pytest

from harness.data.topology import LEAST_MEMORY, batch_size, features, fit_patch, kept_numbers, topology

# spacing, median volume, classes, cases, GB -> patch, batch, strides and kernels of the stages.
# Made by get_plans_for_configuration of nnU-Net 2.8.0's ExperimentPlanner, whose axes are z, y, x.
PLANNED = [
    ((1, 1, 1), (35, 50, 36), 3, 260, 8, (40, 56, 40), 9, "111 222 222 222", "333 333 333 333"),
    ((1.25, 1.25, 7.7), (256, 256, 36), 5, 20, 8, (224, 256, 32), 2, "111 221 221 222 222 222", "331 331 333 333 333 333"),
    ((1.5625, 1.5625, 5), (208, 237, 20), 4, 200, 8, (224, 256, 20), 4, "111 221 222 222 221 221", "331 333 333 333 333 333"),
    ((0.7578, 0.7578, 3), (512, 512, 140), 14, 30, 8, (192, 192, 48), 2, "111 221 222 222 222 221", "331 333 333 333 333 333"),
    ((1, 1, 1), (138, 170, 138), 4, 484, 8, (128, 128, 128), 2, "111 222 222 222 222 222", "333 333 333 333 333 333"),
    ((2.808, 3.119, 7.554), (51, 124, 210.5), 6, 233, 16, (56, 128, 144), 8, "111 221 222 222 122 122", "331 333 333 333 333 333"),
    ((1.087, 1.087, 1.087), (191.5, 77.5, 268.5), 9, 24, 2, (96, 40, 144), 2, "111 222 222 222 212", "333 333 333 333 333"),
    ((0.578, 0.578, 0.578), (38, 69, 128.5), 12, 251, 8, (40, 80, 144), 9, "111 222 222 222 122", "333 333 333 333 333"),
    ((1.594, 1.594, 1.594), (16, 291, 279), 14, 52, 24, (16, 256, 256), 3, "111 222 222 122 122 122 122", "333 333 333 333 333 333 333"),
    ((0.888, 1.507, 2.01), (223, 23.5, 280), 12, 77, 16, (224, 24, 192), 5, "111 221 222 212 212 212 112", "331 333 333 333 333 333 333"),
    ((0.488, 1.122, 1.452), (86.5, 174, 290), 2, 112, 4, (48, 96, 160), 2, "111 211 222 222 122 122", "311 333 333 333 333 333"),
    ((2.613, 4.639, 7.077), (183, 171, 118.5), 5, 15, 24, (192, 192, 128), 2, "111 221 222 222 222 222", "331 333 333 333 333 333"),
    ((1.048, 1.048, 1.048), (91, 200, 34.5), 12, 380, 16, (96, 224, 40), 12, "111 222 222 222 221 121", "333 333 333 333 333 333"),
]  # fmt: skip


def digits(stages: tuple[tuple[int, int, int], ...]) -> str:
    return " ".join("".join(map(str, sides)) for sides in stages)


@pytest.mark.parametrize(
    ("spacing", "median", "classes", "cases", "memory", "patch", "batch", "strides", "kernels"), PLANNED
)
def test_it_plans_as_nnunet_does(
    spacing, median, classes, cases, memory, patch, batch, strides, kernels
) -> None:
    found, net = fit_patch(spacing, median, classes, memory)
    assert (found, digits(net.strides), digits(net.kernels)) == (patch, strides, kernels)
    assert batch_size(found, net, classes, math.prod(median) * cases, memory) == batch


def test_numbers_that_a_network_keeps_are_nnunets() -> None:
    """PlainConvUNet.compute_conv_feature_map_size((128, 128, 128)) of six stages and five classes says 456,990,720."""
    strides = ((1, 1, 1), *((2, 2, 2),) * 5)
    assert kept_numbers((128, 128, 128), strides, 5) == 456_990_720
    # two stages by hand: at the top 2 maps down, 1 transposed and 2 up of 32, 3 classes; below 2 maps of 64
    assert kept_numbers((4, 4, 4), strides[:2], 3) == 64 * (5 * 32 + 3) + 8 * 2 * 64


def test_halvings_by_hand() -> None:
    # 32 -> 16 -> 8 -> 4 along each axis
    assert topology((1, 1, 1), (32, 32, 32)).halvings == (3, 3, 3)
    # z waits until x and y, at 1 mm, have come to 4 mm: 8 / 4 is 2 and not below, 8 / 8 is 1
    net = topology((1, 1, 8), (64, 64, 16))
    assert digits(net.strides) == "111 221 221 221 222" and digits(net.kernels) == "331 331 331 333 333"
    assert net.multiple == (16, 16, 2) and net.padded((60, 64, 15)) == (64, 64, 16)
    # one axis alone: 12 is halved, 11 is not
    assert topology((1, 1, 1), (12, 7, 7)).halvings == (1, 0, 0) and topology((1, 1, 1), (11, 7, 7)).halvings == (0, 0, 0)  # fmt: skip
    assert features(7) == (32, 64, 128, 256, 320, 320, 320)


@pytest.mark.parametrize("sides", [(12, 12, 12), (300, 300, 300), (700, 9, 400), (9, 9, 2000)])
def test_a_patch_fits_into_the_least_memory(sides) -> None:
    patch, net = fit_patch((1, 1, 1), sides, 30, LEAST_MEMORY)
    assert min(patch) > 0 and kept_numbers(patch, net.strides, 30) <= 35_000_000
    assert all(side % of == 0 for side, of in zip(patch, net.multiple, strict=True))
    assert batch_size(patch, net, 30, 1, LEAST_MEMORY) == 2, "5 % of so few voxels are less than one patch"
