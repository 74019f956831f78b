"""nnFormer: local and volume-based window attention, with attention in place of skip concatenation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt, model_validator

from harness.architectures.contract import Architecture, Tokens
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    from torch import nn


class NNFormerOptions(Frozen):
    """Sizes of the stages, finest first. Triples are along the axes of the image, slices last.

    A cubic window shrinks to the shortest side of a grid that is not larger than it; a box stays, and the grid
    is padded. The original looks up the relative-position bias with an index of which many offsets share a
    row (``bias_index: original``); ``unique`` gives each its own, with as many parameters. ``shift_mask``
    keeps tokens apart that only a shifted window brings together; the original for ACDC leaves it out.
    """

    embed: int = Field(12, ge=2, multiple_of=2, description="channels of a token; each stage doubles them")
    embedding_strides: tuple[Triple, Triple] = Field(
        ((2, 2, 2), (2, 2, 1)), description="of the two steps of the patch embedding"
    )
    strides: tuple[Triple, ...] = Field(((2, 2, 2), (2, 2, 2)), description="1 or 2, between stages")
    depths: tuple[PositiveInt, ...] = (2, 2, 2)
    heads: tuple[PositiveInt, ...] = (1, 2, 4)
    windows: tuple[Triple, ...] = Field(
        ((4, 4, 4), (4, 4, 4), (2, 2, 2)), description="tokens along each axis"
    )
    decoder_depths: tuple[PositiveInt, ...] = (2, 2)
    decoder_heads: tuple[PositiveInt, ...] = (1, 2)
    drop_path: float = Field(0.0, ge=0, lt=1, description="of the last block; rises linearly from 0")
    deep_supervision: bool = False
    bias_index: Literal["original", "unique"] = "original"
    shift_mask: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> NNFormerOptions:
        stages = len(self.depths)
        if stages < 2:
            raise ValueError("depths of at least two stages")
        for name, count in (
            ("heads", stages), ("windows", stages), ("strides", stages - 1),
            ("decoder_depths", stages - 1), ("decoder_heads", stages - 1),
        ):  # fmt: skip
            if len(getattr(self, name)) != count:
                raise ValueError(f"{count} {name} for {stages} depths")
        for heads in (self.heads, self.decoder_heads):
            if any(self.channels(stage) % count for stage, count in enumerate(heads)):
                raise ValueError("heads that divide the channels of their stage, embed doubled at each")
        if any(step not in (1, 2) for stride in self.strides for step in stride):
            raise ValueError("strides of 1 or 2")
        if min(side for triple in (*self.embedding_strides, *self.windows) for side in triple) < 1:
            raise ValueError("embedding_strides and windows from 1")
        for x, y, z in self.windows if self.bias_index == "original" else ():
            # the last row that the original's index asks for (slices z, height y, width x)
            last = (2 * z - 2) * (3 * y - 1) + (2 * y - 2) * (2 * y - 1) + 2 * x - 2
            if last >= (2 * x - 1) * (2 * y - 1) * (2 * z - 1):
                raise ValueError(
                    f"bias_index unique for the window {[x, y, z]}: the original has no row for it"
                )
        return self

    def channels(self, stage: int) -> int:
        """Return the channels of a token of a stage."""
        return self.embed * 2**stage

    def patch_size(self) -> Triple:
        """Return the voxels of one token along each axis."""
        a, b, c = (first * second for first, second in zip(*self.embedding_strides, strict=True))
        return (a, b, c)

    def grids(self, patch: Triple) -> list[Triple]:
        """Return the tokens along each axis, of each stage: the patch is padded to whole tokens, halves round down."""
        a, b, c = (-(-side // size) for side, size in zip(patch, self.patch_size(), strict=True))
        grids: list[Triple] = [(a, b, c)]
        for stride in self.strides:
            a, b, c = (side // step for side, step in zip(grids[-1], stride, strict=True))
            grids.append((a, b, c))
        return grids


_CUBES = ((4, 4, 4), (4, 4, 4), (8, 8, 8), (4, 4, 4))
_HALVES = ((2, 2, 2),) * 3


class NNFormer(Architecture[NNFormerOptions]):
    """nnFormer as published, for Synapse, ACDC and BraTS.

    The original's arrays begin with the slices and ours end with them, so the presets are its sizes read
    backwards: ``synapse`` is meant for patches of 128 x 128 x 64 voxels, ``acdc`` for 160 x 160 x 14, ``brats``
    for 128 x 128 x 128. The decoder of ``brats`` has the heads of Synapse's, as in the original's code.
    """

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
        least = []
        for axis, size in enumerate(self.options.patch_size()):
            tokens = 1
            for stride in self.options.strides:
                tokens *= stride[axis]
            least.append((tokens - 1) * size + 1)
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
