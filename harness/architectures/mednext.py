"""MedNeXt: a U-Net of ConvNeXt blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.architectures.contract import Architecture
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    from torch import nn

_HALVINGS = 4
_SMALL = {"ratios": (2, 2, 2, 2), "bottleneck_ratio": 2, "blocks": (2, 2, 2, 2), "bottleneck_blocks": 2}
_BASE = {"ratios": (2, 3, 4, 4), "bottleneck_ratio": 4, "blocks": (2, 2, 2, 2), "bottleneck_blocks": 2}
_MEDIUM = {"ratios": (2, 3, 4, 4), "bottleneck_ratio": 4, "blocks": (3, 4, 4, 4), "bottleneck_blocks": 4}
_LARGE = {"ratios": (3, 4, 8, 8), "bottleneck_ratio": 8, "blocks": (3, 4, 8, 8), "bottleneck_blocks": 8}
_SUPERVISED = {"deep_supervision": True}


class MedNeXtOptions(Frozen):
    """Width, depth and expansion by stage, finest first; the decoder mirrors the encoder."""

    init_filters: int = Field(32, ge=1, description="channels of the finest stage")
    kernel: int = Field(3, ge=1)
    ratios: tuple[int, int, int, int] = (2, 2, 2, 2)
    bottleneck_ratio: int = 2
    blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    bottleneck_blocks: int = 2
    deep_supervision: bool = False


class MedNeXt(Architecture[MedNeXtOptions]):
    """MONAI's MedNeXt in the sizes S, B, M and L of its paper, kernels of 3 voxels, residual resampling."""

    print_name = "MedNeXt"
    summary = "U-Net of ConvNeXt blocks; sides must be multiples of 16"
    source = "Roy et al., MICCAI 2023, LNCS 14223; monai.networks.nets.MedNeXt"
    Options = MedNeXtOptions
    presets = {
        "tiny": {"init_filters": 8, "blocks": (1, 1, 1, 1), "bottleneck_blocks": 1},
        "small": _SMALL | _SUPERVISED,
        "base": _BASE | _SUPERVISED,
        "medium": _MEDIUM | _SUPERVISED,
        "large": _LARGE | _SUPERVISED,
    }

    def multiple(self) -> Triple:
        """Return one factor of 2 for each halving."""
        return (2**_HALVINGS,) * 3

    def needs_two_cells(self) -> bool:
        """Return true: every channel is normalised on its own, in the bottleneck too."""
        return True

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network."""
        from harness.architectures.networks.deep_supervision import ListedMedNeXt

        options = self.options
        return ListedMedNeXt(
            spatial_dims=3,
            init_filters=options.init_filters,
            in_channels=in_channels,
            out_channels=out_channels,
            encoder_expansion_ratio=options.ratios,
            decoder_expansion_ratio=options.ratios[::-1],
            bottleneck_expansion_ratio=options.bottleneck_ratio,
            kernel_size=options.kernel,
            deep_supervision=options.deep_supervision,
            use_residual_connection=True,
            blocks_down=options.blocks,
            blocks_bottleneck=options.bottleneck_blocks,
            blocks_up=options.blocks[::-1],
        )

    def bottleneck(self) -> str:
        """Return the coarsest blocks."""
        return "bottleneck"
