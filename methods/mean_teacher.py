"""Mean Teacher: student and teacher agree on unlabelled images, of which the teacher sees a noisy copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.training.method import Batch, Context, Losses, Method, Progress
from harness.training.semi_supervised import (
    NoisyTeacher,
    UnlabelledParameters,
    UnlabelledWeights,
    forward_both,
    ramped,
    unlabelled_batch,
)

if TYPE_CHECKING:
    from torch import nn


class MeanTeacherParameters(UnlabelledParameters):
    """Defaults of the volumetric baseline in UA-MT's code, where 40 units of 150 steps are all the steps."""

    teacher: NoisyTeacher = NoisyTeacher()
    losses: UnlabelledWeights = UnlabelledWeights()


class MeanTeacher(Method[MeanTeacherParameters]):
    """``L = sup Seg(f_s(x), y) + cons ramp(t) MSE(softmax f_s(u), softmax f_t(u + noise))``.

    The teacher ``f_t`` is the moving average of the student's parameters and stays in training mode, as in
    the code of UA-MT and SSL4MIS; u are images of training cases whose labels the trial withholds.
    """

    summary = "semi-supervised: student and EMA teacher agree on unlabelled images under noise"
    source = "Tarvainen and Valpola, NeurIPS 2017; settings of yulequan/UA-MT and HiLab-git/SSL4MIS"
    Parameters = MeanTeacherParameters

    def unlabelled_batch(self, batch: int) -> int:
        """Return as many as labelled ones by default; none where cons is 0."""
        return unlabelled_batch(self.parameters, self.parameters.losses, batch)

    def setup(self, context: Context) -> None:
        """Build the student and its copy, the teacher."""
        from torch import nn

        from harness.training.ema import make_teacher

        student = context.build_network()
        teacher = make_teacher(student, context.build_network())
        self.modules = nn.ModuleDict({"student": student, "teacher": teacher})
        self._segmentation = context.segmentation_loss

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the supervised term and the consistency on unlabelled patches."""
        import torch

        from harness.training.losses import consistency_loss, finest

        weights = self.parameters.losses
        labelled, unlabelled = forward_both(self.modules["student"], batch)
        terms = {"supervised": self._segmentation(labelled, batch.label)}
        if batch.unlabelled is not None and unlabelled is not None:
            with torch.no_grad():
                noisy = self.parameters.teacher.perturb(batch.unlabelled, progress.generator("noise"))
                target = finest(self.modules["teacher"](noisy))
            terms["consistency"] = consistency_loss(target, finest(unlabelled), "mse_softmax", "none")
        consistency = ramped(weights.cons, self.parameters, progress)
        return Losses.weigh(terms, {"supervised": weights.sup, "consistency": consistency})

    def after_step(self, progress: Progress) -> None:
        """Move the teacher's parameters."""
        from harness.training.ema import update_teacher

        momentum = self.parameters.teacher.momentum_at(progress.step)
        update_teacher(self.modules["teacher"], self.modules["student"], momentum, "skip")

    def roles(self) -> dict[str, nn.Module]:
        """Return student and teacher."""
        return {"student": self.modules["student"], "teacher": self.modules["teacher"]}

    def forward_passes(self) -> int:
        """Return 2: the student over both kinds of patches, the teacher over the unlabelled ones."""
        return 1 + bool(self.parameters.losses.cons)
