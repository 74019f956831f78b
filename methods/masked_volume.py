"""Masked volume modelling: the whole network restores hidden blocks of the image, then is fine-tuned."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from harness.ranges import tunable
from harness.spec import Frozen
from harness.training.masked_pass import block_grid
from harness.training.method import Batch, Context, Losses, Progress, Setting
from harness.training.pretraining import Pretrained


class MaskedVolumeParameters(Frozen):
    """What is hidden, and how the restoration is judged."""

    block: int = tunable(8, 4, 16, title="Mask block", ge=1, description="side of a hidden block, voxels")
    ratio: float = tunable(0.6, 0.3, 0.9, title="Mask ratio", gt=0, lt=1)
    fill: Literal["learned", "zero", "mean"] = Field("learned", title="Mask fill")
    loss: Literal["l1", "mse"] = Field("l1", title="Restoration loss")


class MaskedVolume(Pretrained[MaskedVolumeParameters]):
    """``L = mean over hidden voxels of |f(x; M) - x|``, with the segmentation network as it is.

    Blocks are hidden in the image and not among tokens, so that no skip shows what is to be restored. Ratio
    and loss are SimMIM's; blocks of 8 voxels suit patches of 32 to 64, and a ratio of 0.75 with the squared
    error is nnssl's variant.
    """

    print_name = "SimMIM"
    summary = "pretraining: restore masked blocks of the image with the whole network (SimMIM)"
    source = "Xie et al., CVPR 2022; variant in MIC-DKFZ/nnssl"
    Parameters = MaskedVolumeParameters

    def supports(self, setting: Setting) -> str | None:
        """Refuse a ratio that hides no block."""
        cells = math.prod(block_grid(setting.patch, self.parameters.block))
        if self.parameters.ratio * cells < 1:
            return f"ratio {self.parameters.ratio} of {cells} blocks hides nothing"
        return None

    def setup_pretraining(self, context: Context) -> None:
        """Build the network, which returns an image, and the fill of hidden blocks."""
        from harness.training.masks import Masker

        super().setup_pretraining(context)
        self.modules["masker"] = Masker(context.in_channels, self.parameters.fill)
        self._mask_grid = block_grid(context.setting.patch, self.parameters.block)

    def pretraining_step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the error of the restoration at hidden voxels."""
        from harness.training.losses import finest
        from harness.training.masks import draw_mask, resize_mask

        image = batch.image
        mask = draw_mask(
            "random", self._mask_grid, self.parameters.ratio, len(image), generator=progress.generator("mask")
        ).to(image.device)
        hidden = self.modules["masker"].hide_image(image, mask)  # type: ignore[operator]
        error = finest(self.modules["student"](hidden)).float() - image
        where = resize_mask(mask, image.shape[2:])[:, None].expand_as(error)
        error = error.abs() if self.parameters.loss == "l1" else error.square()
        return Losses.weigh({"restoration": error[where].mean()}, {"restoration": 1.0})
