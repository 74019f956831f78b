"""nnFormer: local and volume-based window attention, with attention in place of skip concatenation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.architectures.contract import Architecture, Tokens
from harness.architectures.networks.nnformer_options import NNFormerOptions
from harness.spec import Triple

if TYPE_CHECKING:
    from torch import nn


_CUBES = ((4, 4, 4), (4, 4, 4), (8, 8, 8), (4, 4, 4))
_HALVES = ((2, 2, 2),) * 3


class NNFormer(Architecture[NNFormerOptions]):
    """nnFormer as published, for Synapse, ACDC and BraTS.

    The original's arrays begin with the slices and ours end with them, so the presets are its sizes read
    backwards: ``synapse`` is meant for patches of 128 x 128 x 64 voxels, ``acdc`` for 160 x 160 x 14, ``brats``
    for 128 x 128 x 128. The decoder of ``brats`` has the heads of Synapse's, as in the original's code.
    """

    differences = (
        "The authors' arrays are as a file has them, slices first; here they are turned to RAS, slices last.",
    )
    print_name = "nnFormer"
    summary = "transformer of 3D windows in encoder, decoder and skips; takes nearly any patch"
    source = (
        "Zhou et al., nnFormer: Volumetric Medical Image Segmentation via a 3D Transformer, IEEE TIP 2023; "
        "282857341/nnFormer"
    )
    Options = NNFormerOptions
    presets = {
        "synapse": {
            "embed": 192, "embedding_strides": ((2, 2, 2), (2, 2, 1)), "strides": _HALVES,
            "depths": (2, 2, 2, 2), "heads": (6, 12, 24, 48), "windows": _CUBES,
            "decoder_depths": (2, 2, 2), "decoder_heads": (6, 12, 24),
            "drop_path": 0.2, "deep_supervision": True,
        },
        "acdc": {
            "embed": 96, "embedding_strides": ((2, 2, 1), (2, 2, 1)),
            "strides": ((2, 2, 1), (2, 2, 2), (2, 2, 2)),
            "depths": (2, 2, 2, 2), "heads": (3, 6, 12, 24),
            "windows": ((5, 5, 3), (5, 5, 3), (10, 10, 7), (5, 5, 3)),
            "decoder_depths": (2, 2, 2), "decoder_heads": (3, 6, 12),
            "drop_path": 0.2, "shift_mask": False,
        },
        "brats": {
            "embed": 96, "embedding_strides": ((2, 2, 2), (2, 2, 2)), "strides": _HALVES,
            "depths": (2, 2, 2, 2), "heads": (3, 6, 12, 24), "windows": _CUBES,
            "decoder_depths": (2, 2, 2), "decoder_heads": (6, 12, 24),
            "drop_path": 0.2,
        },
        "tiny": {"embed": 12, "depths": (2, 2, 2), "heads": (1, 2, 4)},
    }  # fmt: skip

    def supports(self, patch: Triple) -> str | None:
        """Return why a patch cannot be taken, with the nearest that can, or None.

        A patch is padded to whole tokens; of these, there must be one left along each axis after all halvings.
        """
        strides_by_axis = zip(*self.options.strides, strict=True)
        sizes = zip(strides_by_axis, self.options.patch_size(), strict=True)
        least = [(math.prod(strides) - 1) * size + 1 for strides, size in sizes]
        nearest = [max(side, floor) for side, floor in zip(patch, least, strict=True)]
        if list(patch) == nearest:
            return None
        return (
            f"patch {list(patch)}: too small for {len(self.options.depths)} stages; "
            f"the nearest patch that can be taken: {nearest}"
        )

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network for a fixed patch size."""
        from harness.architectures.networks.nnformer import NNFormerNetwork

        return NNFormerNetwork(in_channels, out_channels, patch, self.options)

    def tokens(self, patch: Triple) -> Tokens:
        """Return the patch embedding; it has no absolute positions, so there is one place to mask."""
        grid = self.options.grids(patch)[0]
        return Tokens(
            module="model_down.patch_embed",
            before_position="model_down.patch_embed",
            layout="BCDHW",
            grid=grid,
            channels=self.options.embed,
            mask_grid=grid,
        )

    def bottleneck(self) -> str:
        """Return the normalisation of the coarsest stage."""
        return f"model_down.norms.{len(self.options.depths) - 1}"
