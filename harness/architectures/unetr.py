"""UNETR: a vision transformer encoder with a convolutional decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.architectures.contract import Architecture, Tokens
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    from torch import nn

_PATCH = 16


class UNETROptions(Frozen):
    """Sizes of the transformer and of the decoder."""

    feature_size: int = 8
    hidden_size: int = 48
    mlp_size: int = 96
    heads: int = 4
    dropout: float = 0.0


class UNETR(Architecture[UNETROptions]):
    """MONAI's UNETR (Hatamizadeh et al., WACV 2022): 12 layers, patches of 16 voxels, perceptron embedding.

    The preset ``paper`` has the sizes that MedContext's released UNETR code states for BTCV
    (feature size 32); 16 is the size of UNETR's own paper.
    """

    differences = (
        "MONAI's network of today; its blocks carry a normalisation that is never used, which MedContext's MONAI 0.7 had not.",
    )
    print_name = "UNETR"
    summary = "transformer encoder, convolutional decoder; sides must be multiples of 16"
    source = "Hatamizadeh et al., WACV 2022; monai.networks.nets.UNETR"
    Options = UNETROptions
    presets = {
        "tiny": {"feature_size": 4, "hidden_size": 48, "mlp_size": 96, "heads": 4},
        "paper": {"feature_size": 32, "hidden_size": 768, "mlp_size": 3072, "heads": 12},
    }
    unused = ("norm_cross_attn",)  # of MONAI's transformer blocks

    def multiple(self) -> Triple:
        """Return the size of a patch token."""
        return (_PATCH, _PATCH, _PATCH)

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network, with positions for a fixed patch size."""
        from monai.networks.nets import UNETR as MonaiUNETR

        return MonaiUNETR(
            in_channels=in_channels,
            out_channels=out_channels,
            img_size=patch,
            feature_size=self.options.feature_size,
            hidden_size=self.options.hidden_size,
            mlp_dim=self.options.mlp_size,
            num_heads=self.options.heads,
            proj_type="perceptron",
            norm_name="instance",
            dropout_rate=self.options.dropout,
        )

    def tokens(self, patch: Triple) -> Tokens:
        """Return the tokens after positions are added, which is where the released code masks."""
        grid = (patch[0] // _PATCH, patch[1] // _PATCH, patch[2] // _PATCH)
        return Tokens(
            module="vit.patch_embedding",
            before_position="vit.patch_embedding.patch_embeddings",
            layout="BNC",
            grid=grid,
            channels=self.options.hidden_size,
            mask_grid=grid,
        )

    def bottleneck(self) -> str:
        """Return the normalised tokens of the last layer."""
        return "vit.norm"

    def image_skip(self) -> str:
        """Return the first encoder block, which sees the whole image."""
        return "encoder1"
