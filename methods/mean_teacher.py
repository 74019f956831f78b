"""Mean Teacher: student and teacher agree on unlabelled images, of which the teacher sees a noisy copy."""

from __future__ import annotations

from harness.training.method import Batch, Losses, Progress
from harness.training.semi_supervised import (
    NoisyTeacher,
    StudentAndNoisyTeacher,
    UnlabelledParameters,
    UnlabelledWeights,
    forward_both,
)


class MeanTeacherParameters(UnlabelledParameters):
    """Defaults of the volumetric baseline in UA-MT's code, where 40 units of 150 steps are all the steps."""

    teacher: NoisyTeacher = NoisyTeacher()
    losses: UnlabelledWeights = UnlabelledWeights()


class MeanTeacher(StudentAndNoisyTeacher[MeanTeacherParameters]):
    """``L = sup Seg(f_s(x), y) + cons ramp(t) MSE(softmax f_s(u), softmax f_t(u + noise))``.

    The teacher ``f_t`` is the moving average of the student's parameters and stays in training mode, as in
    the code of UA-MT and SSL4MIS; u are images of training cases whose labels the trial withholds.
    """

    differences = (
        "The weight of unlabelled patches rises at every step; the authors' code moves it every 150 steps (`ramp_every`).",
        "The supervised term and the optimiser are those of the recipe; the authors' code has a Dice of its own, and SGD.",
    )
    print_name = "Mean Teacher"
    summary = "semi-supervised: student and EMA teacher agree on unlabelled images under noise"
    source = "Tarvainen and Valpola, NeurIPS 2017; settings of yulequan/UA-MT and HiLab-git/SSL4MIS"
    Parameters = MeanTeacherParameters

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the supervised term and the consistency on unlabelled patches."""
        import torch

        from harness.training.losses import consistency_loss, finest

        labelled, unlabelled = forward_both(self.modules["student"], batch)
        terms = {"supervised": self._context.segmentation_loss(labelled, batch.label)}
        if batch.unlabelled is not None and unlabelled is not None:
            with torch.no_grad():
                noisy = self.parameters.teacher.perturb(batch.unlabelled, progress.generator("noise"))
                target = finest(self.modules["teacher"](noisy))
            terms["consistency"] = consistency_loss(target, finest(unlabelled), "mse_softmax", "none")
        consistency = self.unlabelled_weight(progress)
        return Losses.weigh(terms, {"supervised": self.parameters.losses.sup, "consistency": consistency})

    def forward_passes(self) -> int:
        """Return 2: the student over both kinds of patches, the teacher over the unlabelled ones."""
        return 1 + bool(self.parameters.losses.cons)
