"""MONAI's networks with deep supervision in the one form of this harness: a list of logits, finest first."""

from __future__ import annotations

import torch
from monai.networks.nets import DynUNet
from monai.networks.nets.mednext import MedNeXt
from torch import Tensor


class ListedDynUNet(DynUNet):
    """DynUNet whose lower outputs keep their own size; MONAI's are enlarged and stacked."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return logits ``(B, K, D, H, W)``, or in training with deep supervision a list, each half as fine."""
        finest = self.output_block(self.skip_layers(x))
        if not (self.training and self.deep_supervision):
            return finest
        lower = list(self.heads)
        self.heads[:] = [torch.empty(0)] * len(lower)  # what stays there would keep the graph alive
        return [finest, *lower]


class ListedMedNeXt(MedNeXt):
    """MedNeXt with a list where MONAI's has a tuple."""

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return logits ``(B, K, D, H, W)``, or in training with deep supervision a list, each half as fine."""
        outputs = super().forward(x)
        return outputs if isinstance(outputs, Tensor) else list(outputs)
