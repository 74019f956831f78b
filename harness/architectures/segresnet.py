"""SegResNet: a residual encoder and decoder with group normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.architectures.contract import Architecture
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    from torch import nn


class SegResNetOptions(Frozen):
    """Widths and depths; each stage after the first halves every axis."""

    init_filters: int = Field(16, multiple_of=8, description="channels of the finest stage, in groups of 8")
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    blocks_up: tuple[int, ...] = (1, 1, 1)
    dropout: float = Field(0.2, ge=0, lt=1)


class SegResNet(Architecture[SegResNetOptions]):
    """MONAI's SegResNet, without the autoencoder branch of the BraTS 2018 winner."""

    differences = ("The branch that restores the image, of the BraTS 2018 winner, is left out.",)
    print_name = "SegResNet"
    summary = "residual U-Net with group normalisation; sides must be multiples of 8"
    source = "Myronenko, BrainLes 2018, LNCS 11384; monai.networks.nets.SegResNet"
    Options = SegResNetOptions
    presets = {
        "tiny": {"init_filters": 8, "blocks_down": (1, 1, 1, 1), "dropout": 0.0},
        "paper": {"init_filters": 16},
        "large": {"init_filters": 32},
    }

    def multiple(self) -> Triple:
        """Return one factor of 2 for each halving."""
        factor = 2 ** (len(self.options.blocks_down) - 1)
        return (factor, factor, factor)

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network."""
        from monai.networks.nets import SegResNet as MonaiSegResNet

        return MonaiSegResNet(
            spatial_dims=3,
            init_filters=self.options.init_filters,
            in_channels=in_channels,
            out_channels=out_channels,
            blocks_down=self.options.blocks_down,
            blocks_up=self.options.blocks_up,
            dropout_prob=self.options.dropout or None,
        )

    def bottleneck(self) -> str:
        """Return the coarsest stage."""
        return f"down_layers.{len(self.options.blocks_down) - 1}"
