"""A small residual U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.architectures.contract import Architecture
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    from torch import nn


class UNetOptions(Frozen):
    """Widths of the stages, finest first; each stage halves every axis."""

    channels: tuple[int, ...] = (8, 16, 32, 64)
    residual_units: int = 1
    dropout: float = 0.0


class UNet(Architecture[UNetOptions]):
    """MONAI's residual U-Net (Kerfoot et al. 2019) with instance normalisation and PReLU."""

    print_name = "U-Net"
    summary = "residual U-Net; 0.15 M parameters at preset tiny"
    source = "Kerfoot et al., STACOM 2018, LNCS 11395; monai.networks.nets.UNet"
    Options = UNetOptions
    compiles = True
    presets = {
        "tiny": {"channels": (8, 16, 32, 64)},
        "paper": {"channels": (32, 64, 128, 256, 320), "residual_units": 2},
    }

    def multiple(self) -> Triple:
        """Return one factor of 2 for each halving."""
        factor = 2 ** (len(self.options.channels) - 1)
        return (factor, factor, factor)

    def needs_two_cells(self) -> bool:
        """Return true: the bottleneck has instance normalisation."""
        return True

    def bottleneck(self) -> str:
        """Return the innermost block."""
        return "model" + ".1.submodule" * (len(self.options.channels) - 1)

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network."""
        from monai.networks.nets import UNet as MonaiUNet

        channels = self.options.channels
        return MonaiUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=channels,
            strides=(2,) * (len(channels) - 1),
            num_res_units=self.options.residual_units,
            norm="instance",
            dropout=self.options.dropout,
        )
