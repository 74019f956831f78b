"""Two passes over the same whole volume: the control that tells masking from a second forward pass."""

from __future__ import annotations

from pydantic import Field

from harness.ranges import tunable
from harness.spec import Frozen
from harness.training.method import Batch, Context, Losses, Method, Progress


class CleanWeights(Frozen):
    """Weights of the terms."""

    sup: float = Field(1.0, title="Supervised weight", gt=0)
    second_sup: float = tunable(1.0, 0.1, 10.0, title="Second supervised weight", log=True, ge=0)


class CleanCleanParameters(Frozen):
    """What the two passes weigh."""

    losses: CleanWeights = CleanWeights()


class CleanClean(Method[CleanCleanParameters]):
    """``L = Seg(f(x), y) + Seg(f(x), y)``: MedContext's budget of gradients with nothing hidden.

    The passes differ by dropout and drop-path alone, in a network that has them; in one that has not, the
    step is a supervised one with the loss doubled, which shows what the loss's scale does by itself.
    """

    print_name = "Clean–clean control"
    summary = "control: supervised on the same whole volume twice; differs by dropout alone"
    source = "ablation of MedContext, arXiv 2402.17725: mask ratio 0, no teacher"
    Parameters = CleanCleanParameters

    def setup(self, context: Context) -> None:
        """Build the network."""
        from torch import nn

        self.modules = nn.ModuleDict({"student": context.build_network()})
        self._segmentation = context.segmentation_loss

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the terms of the first and of the second pass."""
        weights, student = self.parameters.losses, self.modules["student"]
        terms = {"supervised": self._segmentation(student(batch.image), batch.label)}
        if weights.second_sup:
            terms["second"] = self._segmentation(student(batch.image), batch.label)
        return Losses.weigh(terms, {"supervised": weights.sup, "second": weights.second_sup})

    def forward_passes(self) -> int:
        """Return 2, or 1 where the second pass weighs nothing."""
        return 1 + bool(self.parameters.losses.second_sup)
