"""DynUNet: nnU-Net's plain U-Net, shaped by the patch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt, model_validator

from harness.architectures.contract import Architecture
from harness.parsing import WrongKey
from harness.spec import Frozen, Triple, later

if TYPE_CHECKING:
    from torch import nn

_SMALLEST = 4  # voxels along an axis, below which it is not halved
Sides = tuple[PositiveInt, PositiveInt, PositiveInt]


class DynUNetOptions(Frozen):
    """Widths of the stages, and outputs that are supervised."""

    filters: tuple[int, ...] = Field((32, 64, 128, 256, 320, 320), min_length=3, description="finest first")
    deep_supervision: bool = False
    supervised: int = Field(3, ge=1, description="lower outputs that are supervised, where so many are there")
    strides: tuple[Sides, ...] | None = later(
        None,
        min_length=2,
        description="of each stage after the first, along each axis; by default by the patch",
    )
    kernels: tuple[Sides, ...] | None = later(
        None,
        description="voxels of the convolutions of each stage, the first too; by default 3 along each axis",
    )

    @model_validator(mode="after")
    def _has_as_many_of_each(self) -> DynUNetOptions:
        stages = len(self.strides or ()) + 1
        if self.strides and len(self.filters) < stages:
            expected = f"{stages} at least, one more than there are strides"
            raise WrongKey("filters", f"{len(self.filters)} widths", expected)
        if self.kernels and len(self.kernels) != stages:
            expected = f"{stages}, one more than there are strides"
            raise WrongKey("kernels", f"{len(self.kernels)} kernels", expected)
        return self


class DynUNet(Architecture[DynUNetOptions]):
    """MONAI's DynUNet with nnU-Net's settings: instance normalisation, leaky ReLU, kernels of 3 voxels.

    Rule: each stage halves every axis that is even and has at least 8 voxels left; stages end where no axis is
    halved any more, or with the last width. So a patch of 128 x 128 x 64 voxels gives six stages, of which the
    last does not halve the third axis. Options ``strides`` and ``kernels`` take the place of the rule, as
    ``medctx data suggest`` writes them.
    """

    differences = (
        "Strides follow from the patch by one rule; nnU-Net plans them from spacing and memory for each dataset.",
    )
    print_name = "nnU-Net (DynUNet)"
    summary = "nnU-Net's U-Net, strides by the patch"
    source = "Isensee et al., Nature Methods 18, 2021; monai.networks.nets.DynUNet"
    Options = DynUNetOptions
    compiles = True
    presets = {
        "tiny": {"filters": (8, 16, 32)},
        "small": {"filters": (12, 24, 48, 96)},
        "paper": {"filters": (32, 64, 128, 256, 320, 320), "deep_supervision": True},
    }

    def strides(self, patch: Triple) -> list[tuple[int, ...]]:
        """Return the stride of each stage along each axis."""
        if self.options.strides:
            return [(1, 1, 1), *self.options.strides]
        sides = list(patch)
        strides: list[tuple[int, ...]] = [(1, 1, 1)]
        while len(strides) < len(self.options.filters):
            stage = tuple(2 if side % 2 == 0 and side // 2 >= _SMALLEST else 1 for side in sides)
            if max(stage) == 1:
                break
            sides = [side // stride for side, stride in zip(sides, stage, strict=True)]
            strides.append(stage)
        return strides

    def multiple(self) -> Triple:
        """Return the products of the strides, where they are set."""
        x, y, z = (prod(stride[axis] for stride in self.options.strides or ()) for axis in range(3))
        return (x, y, z)

    def supports(self, patch: Triple) -> str | None:
        """Refuse a patch that can be halved less than twice along every axis, or that set strides do not divide."""
        if self.options.strides:
            return super().supports(patch)
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
            kernel_size=list(self.options.kernels or [(3, 3, 3)] * len(strides)),
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
