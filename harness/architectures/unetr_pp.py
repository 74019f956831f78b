"""UNETR++: a transformer of efficient paired attention with convolutional blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.architectures.contract import Architecture, Tokens
from harness.spec import Frozen, Triple, later

if TYPE_CHECKING:
    from torch import nn

_STAGES = 4
Widths = tuple[int, int, int, int]


class UNETRPPOptions(Frozen):
    """Sizes by stage, finest first, and where the three released versions differ."""

    stem: Triple = Field((2, 2, 2), description="voxels of a token")
    dims: Widths = (8, 16, 32, 64)
    depths: Widths = (1, 1, 1, 1)
    heads: int = Field(2, ge=1)
    projected: Widths = Field((8, 8, 8, 8), description="tokens that keys and values are projected to")
    decoder_projected: int = Field(8, ge=1)
    projection: Literal["shared", "separate", "matrix"] = Field(
        "shared", description="of keys and values: one linear layer, two, or one without a bias"
    )
    fusion: Literal["concat", "sum"] = Field("concat", description="of both kinds of attention")
    residual_blocks: int = Field(1, ge=1, description="convolutional blocks after each attention")
    dropout: float = Field(0.0, ge=0, lt=1, description="of attention maps")
    conv_dropout: float = later(
        0.1, ge=0, lt=1, description="of whole channels after the convolutional blocks"
    )
    spatial_reshape: Literal["original", "fixed"] = Field(
        "original",
        description="original: tokens and channels are scrambled as in the released code, of the image's slices first",
    )
    deep_supervision: bool = False


_PAPER = {
    "dims": (32, 64, 128, 256), "depths": (3, 3, 3, 3), "heads": 4, "projected": (64, 64, 64, 32),
    "decoder_projected": 64,
}  # fmt: skip


class UNETRPP(Architecture[UNETRPPOptions]):
    """UNETR++ with the sizes that its authors released for each dataset; axes are those of RAS arrays.

    The authors' arrays have slices first, so their stem 2 x 4 x 4 is 4 x 4 x 2 here.
    """

    differences = (
        "The authors' arrays are as a file has them, slices first; here they are turned to RAS, and tokens are numbered with the first "
        "axis slowest. Weights of theirs fit after a permutation of positions and projections.",
    )
    print_name = "UNETR++"
    summary = "efficient paired attention over channels and space; positions fixed by the patch"
    source = "Shaker et al., IEEE TMI 2024; https://github.com/Amshaker/unetr_plus_plus"
    Options = UNETRPPOptions
    presets = {
        "tiny": {"conv_dropout": 0.0},
        "synapse": _PAPER | {"stem": (4, 4, 2), "dropout": 0.15, "deep_supervision": True},
        "acdc": _PAPER
        | {
            "stem": (4, 4, 1), "dropout": 0.1, "projection": "separate", "residual_blocks": 2,
            "deep_supervision": True,
        },
        "brats": _PAPER
        | {
            "stem": (4, 4, 4), "dropout": 0.1, "projection": "matrix", "fusion": "sum",
            "deep_supervision": True,
        },
    }  # fmt: skip

    def spec_version(self) -> int:
        """Return one more where tokens are scrambled: in the first release they were, in the order x, y, z."""
        return super().spec_version() + (self.options.spatial_reshape == "original")

    def multiple(self) -> Triple:
        """Return the stem and a factor of 2 for each further stage."""
        x, y, z = (side * 2 ** (_STAGES - 1) for side in self.options.stem)
        return (x, y, z)

    def needs_two_cells(self) -> bool:
        """Return true: the coarsest stage has batch normalisation."""
        return True

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network, made for a fixed patch size."""
        from harness.architectures.networks.unetr_pp import UNETRPlusPlus

        return UNETRPlusPlus(in_channels, out_channels, patch, self.options)

    def tokens(self, patch: Triple) -> Tokens:
        """Return the stem; positions are added in each block, so there is one place to mask."""
        x, y, z = (side // stride for side, stride in zip(patch, self.options.stem, strict=True))
        stem = "unetr_pp_encoder.downsample_layers.0"
        return Tokens(stem, stem, "BCDHW", (x, y, z), self.options.dims[0], (x, y, z))

    def image_skip(self) -> str:
        """Return the block that sees the whole image."""
        return "encoder1"

    def bottleneck(self) -> str:
        """Return the coarsest stage."""
        return f"unetr_pp_encoder.stages.{_STAGES - 1}"
