"""DynUNet: nnU-Net's plain U-Net, shaped by the patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt, model_validator

from harness.architectures.contract import Architecture
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    from torch import nn

_SMALLEST = 4  # voxels along an axis, below which it is not halved


class DynUNetOptions(Frozen):
    """Widths of the stages, and outputs that are supervised."""

    filters: tuple[int, ...] = Field((32, 64, 128, 256, 320, 320), min_length=3, description="finest first")
    deep_supervision: bool = False
    supervised: int = Field(3, ge=1, description="lower outputs that are supervised, where so many are there")


class DynUNet(Architecture[DynUNetOptions]):
    """MONAI's DynUNet with nnU-Net's settings: instance normalisation, leaky ReLU, kernels of 3 voxels.

    Rule: each stage halves every axis that is even and has at least 8 voxels left; stages end where no axis is
    halved any more, or with the last width. So a patch of 128 x 128 x 64 voxels gives six stages, of which the
    last does not halve the third axis.
    """

    print_name = "nnU-Net (DynUNet)"
    summary = "nnU-Net's U-Net, strides by the patch"
    source = "Isensee et al., Nature Methods 18, 2021; monai.networks.nets.DynUNet"
    Options = DynUNetOptions
    presets = {
        "tiny": {"filters": (8, 16, 32)},
        "small": {"filters": (12, 24, 48, 96)},
        "paper": {"filters": (32, 64, 128, 256, 320, 320), "deep_supervision": True},
    }

    def strides(self, patch: Triple) -> list[tuple[int, ...]]:
        """Return the stride of each stage along each axis."""
        sides = list(patch)
        strides: list[tuple[int, ...]] = [(1, 1, 1)]
        while len(strides) < len(self.options.filters):
            stage = tuple(2 if side % 2 == 0 and side // 2 >= _SMALLEST else 1 for side in sides)
            if max(stage) == 1:
                break
            sides = [side // stride for side, stride in zip(sides, stage, strict=True)]
            strides.append(stage)
        return strides

    def supports(self, patch: Triple) -> str | None:
        """Refuse a patch that can be halved less than twice along every axis."""
        if len(self.strides(patch)) >= 3:
            return None
        nearest = list(patch)
        longest = patch.index(max(patch))
        nearest[longest] = max(16, round(patch[longest] / 4) * 4)
        return (
            f"patch {list(patch)}: one side must be a multiple of 4 from 16; "
            f"the nearest patch that can be taken: {nearest}"
        )

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network."""
        from harness.architectures.networks.deep_supervision import ListedDynUNet

        strides = self.strides(patch)
        return ListedDynUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=[(3, 3, 3)] * len(strides),
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=self.options.filters[: len(strides)],
            norm_name="instance",
            deep_supervision=self.options.deep_supervision,
            deep_supr_num=min(self.options.supervised, len(strides) - 2),
        )

    def bottleneck(self) -> str:
        """Return the coarsest block."""
        return "bottleneck"
