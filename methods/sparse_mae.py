"""Masked autoencoding for convolutional networks: the encoder computes at visible places alone."""

from __future__ import annotations

import math
from typing import Any

from harness.ranges import tunable
from harness.spec import Frozen
from harness.training.masked_pass import block_grid
from harness.training.method import Batch, Context, Losses, Progress, Setting
from harness.training.pretraining import Pretrained


class SparseMAEParameters(Frozen):
    """What is hidden."""

    block: int = tunable(8, 4, 16, title="Mask block", ge=1, description="side of a hidden block, voxels")
    ratio: float = tunable(0.75, 0.4, 0.9, title="Mask ratio", gt=0, lt=1)


class SparseMAE(Pretrained[SparseMAEParameters]):
    """``L = mean over hidden voxels of (f(x visible) - x)^2``, the encoder being sparse.

    Convolutions, pools and normalisation of the encoder are masked at every resolution, so that hidden places
    neither leak into visible ones nor shift their statistics. The deepest features get a learned vector at
    hidden places; the skips stay zero there, and the densifying convolutions of the original are left out.
    """

    differences = (
        "Skips stay zero at hidden places; the original fills them with learned vectors and convolves them.",
    )
    print_name = "SparK"
    summary = "pretraining: masked autoencoding with a sparse convolutional encoder (Spark3D); CNNs only"
    source = "Tian et al., ICLR 2023; Spark3D in MIC-DKFZ/nnssl"
    Parameters = SparseMAEParameters

    def supports(self, setting: Setting) -> str | None:
        """Refuse networks with tokens, those that do not name their deepest features, and an empty mask."""
        if setting.architecture.tokens(setting.patch) is not None:
            return "a sparse encoder is one of convolutions, and this network has patch tokens"
        if setting.architecture.bottleneck() is None:
            return "it does not say where its deepest features are (bottleneck)"
        cells = math.prod(block_grid(setting.patch, self.parameters.block))
        hidden = int(self.parameters.ratio * cells)
        if not 0 < hidden < cells:
            return f"ratio {self.parameters.ratio} of {cells} blocks hides {hidden}"
        return None

    def setup_pretraining(self, context: Context) -> None:
        """Build the network, which returns an image, and the vector for hidden places."""
        import torch

        from harness.training.features import capture_outputs, encoder_layers
        from harness.training.sparse import Densify

        super().setup_pretraining(context)
        student, patch = self.modules["student"], context.setting.patch
        device = next(student.parameters()).device
        self._path = str(context.setting.architecture.bottleneck())
        image = torch.zeros(1, context.in_channels, *patch, device=device)
        self._leaves = encoder_layers(student, self._path, image)
        with torch.no_grad(), capture_outputs(student, self._path) as found:
            student(image)
        self.modules["densify"] = Densify(found[0].shape[1])
        self._mask_grid = block_grid(patch, self.parameters.block)

    def pretraining_step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the squared error of the restoration at hidden voxels."""
        from harness.training.losses import finest
        from harness.training.masks import draw_mask, resize_mask
        from harness.training.sparse import sparse_convolution

        image, student = batch.image, self.modules["student"]
        mask = draw_mask(
            "random", self._mask_grid, self.parameters.ratio, len(image), generator=progress.generator("mask")
        ).to(image.device)

        def densify(_module: Any, _inputs: Any, output: Any) -> Any:
            return self.modules["densify"](output, ~mask)

        with sparse_convolution(self._leaves, ~mask):
            hook = student.get_submodule(self._path).register_forward_hook(densify)
            try:
                restored = finest(student(image)).float()
            finally:
                hook.remove()
        where = resize_mask(mask, image.shape[2:])[:, None].expand_as(image)
        error = (restored - image).square()[where].mean()
        return Losses.weigh({"restoration": error}, {"restoration": 1.0})
