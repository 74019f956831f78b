"""UA-MT: a Mean Teacher whose student follows it only where the teacher is certain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from harness.spec import Frozen
from harness.training.method import Batch, Losses, Progress
from harness.training.schedules import ramp_up
from harness.training.semi_supervised import (
    NoisyTeacher,
    StudentAndNoisyTeacher,
    UnlabelledParameters,
    UnlabelledWeights,
    forward_both,
)

if TYPE_CHECKING:
    from torch import Tensor


class Uncertainty(Frozen):
    """How the teacher's certainty is measured, and how much of it is asked for."""

    passes: int = Field(8, title="Stochastic passes", ge=1, description="stochastic passes of the teacher")
    threshold: float = Field(
        0.75, title="Entropy threshold", ge=0, le=1, description="at first, as a share of the largest entropy"
    )
    threshold_end: float = Field(
        1.0, title="Entropy threshold at the end", ge=0, le=1, description="at the last step"
    )


class UAMTParameters(UnlabelledParameters):
    """Defaults of the released code for the left atrium."""

    teacher: NoisyTeacher = NoisyTeacher()
    uncertainty: Uncertainty = Uncertainty()
    losses: UnlabelledWeights = UnlabelledWeights()


class UAMT(StudentAndNoisyTeacher[UAMTParameters]):
    """Mean Teacher, with the consistency averaged over voxels of low predictive entropy.

    The entropy is that of the mean softmax of several passes of the teacher, in training mode, under fresh
    noise and the network's dropout; a voxel counts while it is below a threshold that rises to ``ln C``. The
    architecture's own dropout is used: in a network without any, passes differ by the noise alone. As in the released code,
    which has two classes, squares are summed over classes and divided by 2, however many there are.
    """

    version = 2  # 1 divided by the number of classes, which is the same for two
    differences = (
        "The weight of unlabelled patches rises at every step; the authors' code moves it every 150 steps (`ramp_every`).",
        "The supervised term and the optimiser are those of the recipe; the authors' code has a Dice of its own, and SGD.",
        "The threshold is a share of ln C for C classes; the authors' is one of ln 2, for two.",
    )
    print_name = "UA-MT"
    summary = "semi-supervised: Mean Teacher where the teacher's predictive entropy is low"
    source = "Yu et al., MICCAI 2019, LNCS 11765; settings of yulequan/UA-MT"
    Parameters = UAMTParameters

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the supervised term, the consistency where the teacher is certain, and where that is."""
        from harness.training.losses import consistency_loss, finest

        labelled, unlabelled = forward_both(self.modules["student"], batch)
        terms = {"supervised": self._context.segmentation_loss(labelled, batch.label)}
        if batch.unlabelled is not None and unlabelled is not None:
            target, entropy = self._teacher_prediction(batch.unlabelled, progress)
            certain = entropy < self.threshold(progress)
            mean = consistency_loss(target, finest(unlabelled), "mse_softmax", "none", certain)
            terms["consistency"] = mean * (self._context.classes / 2)
            terms["certain"] = certain.float().mean()
        consistency = self.unlabelled_weight(progress)
        return Losses.weigh(terms, {"supervised": self.parameters.losses.sup, "consistency": consistency})

    def threshold(self, progress: Progress) -> float:
        """Return the entropy below which a voxel counts, nats."""
        first, last = self.parameters.uncertainty.threshold, self.parameters.uncertainty.threshold_end
        share = first + (last - first) * ramp_up(progress.step, progress.steps)
        return share * math.log(self._context.classes)

    def _teacher_prediction(self, image: Tensor, progress: Progress) -> tuple[Tensor, Tensor]:
        """Return the teacher's logits ``(U, K, D, H, W)`` and the entropy of its mean ``(U, D, H, W)``."""
        import torch

        from harness.training.losses import finest

        teacher, settings = self.modules["teacher"], self.parameters.teacher
        generator, count = progress.generator("noise"), self.parameters.uncertainty.passes
        with torch.no_grad():
            target = finest(teacher(settings.perturb(image, generator)))
            mean = torch.zeros_like(target, dtype=torch.float32)
            for _ in range(count):
                logits = finest(teacher(settings.perturb(image, generator)))
                mean += logits.float().softmax(dim=1) / count
            return target, -(mean * (mean + 1e-6).log()).sum(dim=1)

    def forward_passes(self) -> int:
        """Return the student's one, the teacher's target, and the passes that measure certainty."""
        return 1 + (1 + self.parameters.uncertainty.passes if self.parameters.losses.cons else 0)
