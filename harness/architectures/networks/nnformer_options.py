"""The options of nnFormer, which the architecture reads and its network is built from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from harness.spec import Frozen, Triple


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
