"""Supervised training on the labelled cases alone: the baseline."""

from __future__ import annotations

from harness.spec import Frozen
from harness.training.method import Batch, Context, Losses, Method, Progress


class SupervisedParameters(Frozen):
    """Nothing to set: the recipe says it all."""


class Supervised(Method[SupervisedParameters]):
    """One network, one forward pass, the recipe's segmentation loss."""

    print_name = "Supervised"
    summary = "labelled cases only, one network: the baseline"
    source = "Isensee et al., Nature Methods 2021 (loss and recipe of the field)"
    Parameters = SupervisedParameters

    def compiles(self) -> bool:
        """Return true: the network is used as a whole."""
        return True

    def setup(self, context: Context) -> None:
        """Build the network."""
        from torch import nn

        self.modules = nn.ModuleDict({"student": context.build_network()})
        self._loss = context.segmentation_loss

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the segmentation loss of the batch."""
        loss = self._loss(self.modules["student"](batch.image), batch.label)
        return Losses(loss, {"supervised": loss.detach()})
