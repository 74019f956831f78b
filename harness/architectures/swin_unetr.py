"""Swin UNETR: a shifted-window transformer encoder with a convolutional decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.architectures.contract import Architecture, Tokens
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    from torch import nn

_MULTIPLE = 32  # five halvings
_EMBEDDING = 2  # stride of the patch embedding
_MASK_BLOCK = 16  # voxels; tokens of 2 voxels are masked in blocks


class SwinUNETROptions(Frozen):
    """Sizes of the stages."""

    feature_size: int = Field(12, multiple_of=12, description="channels of a token")
    depths: tuple[int, int, int, int] = (1, 1, 1, 1)
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    window: int = 7
    drop_path: float = Field(0.0, ge=0, lt=1)


class SwinUNETR(Architecture[SwinUNETROptions]):
    """MONAI's Swin UNETR (Hatamizadeh et al., BrainLes 2021, LNCS 12962)."""

    print_name = "Swin UNETR"
    summary = "shifted-window transformer encoder; sides must be multiples of 32, at least 64"
    source = "Hatamizadeh et al., BrainLes 2021, LNCS 12962; monai.networks.nets.SwinUNETR"
    Options = SwinUNETROptions
    presets = {
        "tiny": {"feature_size": 12, "depths": (1, 1, 1, 1), "heads": (1, 2, 4, 8)},
        "paper": {"feature_size": 48, "depths": (2, 2, 2, 2), "heads": (3, 6, 12, 24)},
    }

    checkpoints = {
        # model_swinvit.pt of the self-supervised pretraining (Tang et al., CVPR 2022): the encoder of preset paper alone,
        # an eighth of the network, under the names of an earlier MONAI
        "swin_unetr_ssl": {
            "key": "state_dict", "prefix": "module.", "into": "swinViT", "share": 0.1,
            "map": {"mlp.fc1": "mlp.linear1", "mlp.fc2": "mlp.linear2"},
        },
    }  # fmt: skip

    def multiple(self) -> Triple:
        """Return the product of the strides."""
        return (_MULTIPLE, _MULTIPLE, _MULTIPLE)

    def needs_two_cells(self) -> bool:
        """Return true: the bottleneck has instance normalisation."""
        return True

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network; it takes any size that is a multiple of 32."""
        from monai.networks.nets import SwinUNETR as MonaiSwinUNETR

        return MonaiSwinUNETR(
            in_channels=in_channels,
            out_channels=out_channels,
            feature_size=self.options.feature_size,
            depths=self.options.depths,
            num_heads=self.options.heads,
            window_size=self.options.window,
            dropout_path_rate=self.options.drop_path,
        )

    def tokens(self, patch: Triple) -> Tokens:
        """Return the patch embedding; it has no absolute positions, so there is one place to mask."""
        return Tokens(
            module="swinViT.patch_embed",
            before_position="swinViT.patch_embed",
            layout="BCDHW",
            grid=(patch[0] // _EMBEDDING, patch[1] // _EMBEDDING, patch[2] // _EMBEDDING),
            channels=self.options.feature_size,
            mask_grid=(patch[0] // _MASK_BLOCK, patch[1] // _MASK_BLOCK, patch[2] // _MASK_BLOCK),
        )

    def bottleneck(self) -> str:
        """Return the last stage of the transformer."""
        return "swinViT.layers4.0"

    def image_skip(self) -> str:
        """Return the first encoder block, which sees the whole image."""
        return "encoder1"
