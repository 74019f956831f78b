"""Counts of operations against a formula worked out by hand."""

from torch import nn

from harness.trial.operations import multiply_accumulates


def test_a_convolution_counts_kernel_times_channels_times_voxels() -> None:
    network = nn.Sequential(nn.Conv3d(2, 5, 3, padding=1), nn.Dropout(), nn.Conv3d(5, 3, 1))
    voxels = 8 * 6 * 4
    assert multiply_accumulates(network, 2, (8, 6, 4)) == voxels * (2 * 5 * 27 + 5 * 3)
    assert network.training and all(part.training for part in network)
